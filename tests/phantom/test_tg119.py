"""Volumes and positions of the TG-119 structures against the report's dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.patient import InputRefusedError, Structure
from imrt_core.patient.contours import mask_from_structure, structure_volume_cc
from imrt_core.phantom.tg119 import CASES, Tg119Case, tg119_case

#: Slices of 2.5 mm of an ellipsoid, and polygons of pixels of 1 mm, are this true.
VOLUME_TOLERANCE = 0.01


@pytest.fixture(scope="module")
def cases() -> dict[str, Tg119Case]:
    return {name: tg119_case(name) for name in CASES}


def _extent(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate([contour.points_lps for contour in structure.contours])
    return points.min(axis=0), points.max(axis=0)


def _overlap(case: Tg119Case, first: str, second: str) -> float:
    """Share of the first structure in the second."""
    a, b = (np.asarray(mask_from_structure(case.structures[name], case.red.grid).array) for name in (first, second))
    return float(np.minimum(a, b).sum() / a.sum())


def test_c_shape(cases: dict[str, Tg119Case]) -> None:
    drawn = cases["c-shape"].structures
    assert structure_volume_cc(drawn["Core"]) == pytest.approx(np.pi * 1.0**2 * 10.0, rel=VOLUME_TOLERANCE)

    def behind(radius: float, plane: float = 0.5) -> float:
        # of a disc, between its diameter and a parallel line
        return plane * np.sqrt(radius**2 - plane**2) + radius**2 * np.arcsin(plane / radius)

    area = 0.5 * np.pi * (3.7**2 - 1.5**2) + behind(3.7) - behind(1.5)
    assert structure_volume_cc(drawn["PTV"]) == pytest.approx(area * 8.0, rel=VOLUME_TOLERANCE)
    radius = np.concatenate([np.hypot(*c.points_lps[:, :2].T) for c in drawn["PTV"].contours])
    assert radius.min() == pytest.approx(15.0, abs=0.3) and radius.max() == pytest.approx(37.0, abs=0.3)
    lower, upper = _extent(drawn["PTV"])
    # the open side is posterior; the first and last planes are half a slice inside the ends
    assert upper[1] == pytest.approx(5.0, abs=0.3) and lower[1] == pytest.approx(-37.0, abs=0.3)
    assert (lower[2], upper[2]) == (-38.75, 38.75)
    assert _overlap(cases["c-shape"], "Core", "PTV") == 0.0


def test_multi_target_is_three_equal_cylinders_superior_on_top(cases: dict[str, Tg119Case]) -> None:
    drawn = cases["multi-target"].structures
    for name, bottom, top in (("Inferior", -60, -20), ("Center", -20, 20), ("Superior", 20, 60)):
        assert structure_volume_cc(drawn[name]) == pytest.approx(np.pi * 2.0**2 * 4.0, rel=VOLUME_TOLERANCE)
        lower, upper = _extent(drawn[name])
        assert (lower[2], upper[2]) == (bottom + 1.25, top - 1.25)
        assert np.allclose(np.append(lower[:2], upper[:2]), [-20, -20, 20, 20], atol=0.3)


def test_prostate(cases: dict[str, Tg119Case]) -> None:
    case = cases["prostate"]
    drawn = case.structures
    lower, upper = _extent(drawn["CTV"])
    assert (upper[0] - lower[0]) == pytest.approx(40.0, abs=0.5)
    assert lower[1] == pytest.approx(-13.0, abs=0.3) and upper[1] < 13.0
    assert (upper[2] - lower[2] + 2.5) == pytest.approx(65.0, abs=2.5)
    # the indentation of 1 mm takes less than a per cent of the ellipsoid
    ellipsoid_cc = 4.0 / 3.0 * np.pi * 2.0 * 1.3 * 3.25
    assert structure_volume_cc(drawn["CTV"]) == pytest.approx(ellipsoid_cc, rel=VOLUME_TOLERANCE)
    ptv_lower, ptv_upper = _extent(drawn["PTV"])
    assert np.allclose([lower[0] - ptv_lower[0], ptv_upper[0] - upper[0], lower[1] - ptv_lower[1]], 6.0, atol=0.5)
    assert structure_volume_cc(drawn["Rectum"]) == pytest.approx(np.pi * 0.75**2 * 10.0, rel=VOLUME_TOLERANCE)
    assert _extent(drawn["Rectum"])[0][1] > 0.0
    assert _overlap(case, "Rectum", "CTV") < 0.01 and _overlap(case, "Bladder", "CTV") < 0.01
    assert 0.0 < _overlap(case, "Bladder", "PTV") < 0.10
    assert _overlap(case, "CTV", "PTV") > 0.999


def test_about_a_third_of_the_rectum_of_the_middle_slice_is_in_the_target(cases: dict[str, Tg119Case]) -> None:
    case = cases["prostate"]
    rectum, ptv = (np.asarray(mask_from_structure(case.structures[n], case.red.grid).array) for n in ("Rectum", "PTV"))
    middle = case.red.grid.shape[0] // 2
    share = np.minimum(rectum[middle], ptv[middle]).sum() / rectum[middle].sum()
    assert 0.25 < share < 0.45


def test_head_and_neck_keeps_its_distances(cases: dict[str, Tg119Case]) -> None:
    drawn = cases["head-and-neck"].structures
    points = np.concatenate([c.points_lps for c in drawn["PTV"].contours])
    from_cord = np.hypot(points[:, 0], points[:, 1] - 25.0) - 7.5
    assert from_cord.min() == pytest.approx(15.0, abs=0.5)
    skin = np.concatenate([c.points_lps for c in drawn["External"].contours if c.points_lps[0, 2] == 1.25])[:, :2]
    nearest = min(float(np.linalg.norm(skin - point, axis=1).min()) for point in points[::20, :2])
    assert nearest == pytest.approx(6.0, abs=1.0)
    for side, sign in (("L", 1), ("R", -1)):
        lower, upper = _extent(drawn[f"Parotid_{side}"])
        assert 0.5 * sign * (lower[0] + upper[0]) == pytest.approx(56.0, abs=0.5)
        ellipsoid_cc = 4.0 / 3.0 * np.pi * 1.3 * 1.8 * 2.2
        assert structure_volume_cc(drawn[f"Parotid_{side}"]) == pytest.approx(ellipsoid_cc, rel=VOLUME_TOLERANCE)
        assert _overlap(cases["head-and-neck"], f"Parotid_{side}", "PTV") == 0.0


@pytest.mark.parametrize("name", CASES)
def test_phantoms_are_water_around_the_isocentre(cases: dict[str, Tg119Case], name: str) -> None:
    case = cases[name]
    density = case.red.array
    inside = np.asarray(mask_from_structure(case.structures["External"], case.red.grid).array) > 0.999
    assert np.allclose(density[inside], 1.0, atol=1e-3)
    assert np.allclose(case.red.grid.centre_lps, 0.0, atol=1e-9)
    assert float(density[0, 0, 0]) == pytest.approx(0.0012)
    assert {goal.structure for goal in case.goals} <= set(case.structures.names)
    for structure in case.structures:
        if structure.name != "External":
            assert _overlap(case, structure.name, "External") > 0.999


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="c-shape"):
        tg119_case("lung")
