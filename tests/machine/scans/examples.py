"""Scans for the tests, by hand and drawn by hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.special import erf

from imrt_core.machine.scans import Detector, Scan

CHAMBER = Detector("Chamber 5.5", "cylindrical chamber", 5.5)


def pdd(**changes: object) -> Scan:
    """An exponential depth dose of 100 x 80 mm, 100 at the surface."""
    depth = np.arange(0.0, 301.0, 10.0)
    values: dict[str, object] = {
        "kind": "pdd", "field_x_mm": 100.0, "field_y_mm": 80.0, "ssd_mm": 900.0, "depth_mm": None,
        "position_mm": depth, "value": np.round(100 * np.exp(-depth / 200), 1), "relative_to": "100 at the surface",
        "detector": CHAMBER,
    }  # fmt: skip
    return Scan(**{**values, **changes})  # type: ignore[arg-type]


def profile(*, centre_mm: float = 0.0, sigma_mm: float = 3.0, half_mm: float = 50.0, **changes: object) -> Scan:
    """A field edge of error functions: 50 % at centre ± half, 20-80 % within 2·0.8416·sigma."""
    position = np.arange(-100.0, 100.5, 0.5)
    value = 50 * (
        erf((position - centre_mm + half_mm) / np.sqrt(2) / sigma_mm)
        - erf((position - centre_mm - half_mm) / np.sqrt(2) / sigma_mm)
    )
    values: dict[str, object] = {
        "kind": "crossline", "field_x_mm": 100.0, "field_y_mm": 80.0, "ssd_mm": 900.0, "depth_mm": 100.0,
        "position_mm": position, "value": value, "relative_to": "100 on the axis", "detector": CHAMBER,
    }  # fmt: skip
    return Scan(**{**values, **changes})  # type: ignore[arg-type]


@st.composite
def scans(draw: st.DrawFn, *, kinds: tuple[str, ...], step_mm: float = 0.01, decimals: int | None = None) -> Scan:
    """Any scan whose numbers a format can hold: positions on a grid, values with so many decimals."""
    kind = draw(st.sampled_from(kinds))
    across = kind not in ("pdd", "tpr")
    reach = round(400 / step_mm)
    grid = st.integers(-reach if across else 0, reach)
    position = np.array(sorted(draw(st.sets(grid, min_size=3, max_size=20)))) * step_mm
    number = st.floats(0.01, 999.0).map(lambda v: v if decimals is None else max(round(v, decimals), 0.1))
    whole = st.integers(5, 400).map(float)
    return Scan(
        kind=kind,  # type: ignore[arg-type]
        field_x_mm=draw(whole),
        field_y_mm=draw(whole),
        ssd_mm=draw(st.integers(500, 1500).map(float)),
        depth_mm=draw(st.integers(1, 400).map(float)) if across else None,
        position_mm=position,
        value=np.array([draw(number) for _ in position]),
        relative_to="100 at the maximum",
        energy_mv=6.0,
    )


def same(one: Scan, other: Scan, *, atol_mm: float = 0.0) -> None:
    """Assert that two scans hold the same curve under the same conditions."""
    names = ("kind", "field_x_mm", "field_y_mm", "ssd_mm", "depth_mm")
    assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    np.testing.assert_allclose(one.position_mm, other.position_mm, rtol=0, atol=atol_mm)
    np.testing.assert_array_equal(one.value, other.value)
