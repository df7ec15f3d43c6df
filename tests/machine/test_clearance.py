"""Clearance: what the table does not allow is refused, arcs on their whole way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imrt_core.geometry.iec61217 import fixed_from_support, source_lps
from imrt_core.machine import (
    Clearance,
    ClearanceRange,
    clearance_refusal,
    load_machine,
    parse_machine,
    write_machine,
)
from imrt_core.machine.clearance import in_range, positions_of
from imrt_core.patient import Beam, ControlPoint, MachineError

MACHINE = load_machine("generic_6mv")


@pytest.mark.parametrize(
    ("angle", "range_deg", "inside"),
    [
        (0.0, (350.0, 10.0), True),
        (350.0, (350.0, 10.0), True),
        (10.0, (350.0, 10.0), True),
        (11.0, (350.0, 10.0), False),
        (180.0, (350.0, 10.0), False),
        (359.99, (0.0, 5.0), True),
        (90.0, (0.0, 360.0), True),
        (5.0, (5.0, 5.0), True),
        (6.0, (5.0, 5.0), False),
        (360.0, (0.0, 0.0), True),
    ],
)
def test_ranges_run_upwards_and_over_zero(angle: float, range_deg: tuple[float, float], inside: bool) -> None:
    assert in_range(angle, range_deg) is inside


@pytest.mark.parametrize("table", [10.0, 30.0, 60.0, 90.0, 270.0, 300.0, 330.0, 350.0])
def test_the_generic_table_keeps_the_gantry_off_the_side_of_the_feet(table: float) -> None:
    """The foot end of the table lies at fixed −Y for table 0; where it swings to, the source must not be low."""
    foot_x = (fixed_from_support(table) @ np.array([0.0, -1.0, 0.0]))[0]
    free = [g for g in range(360) if clearance_refusal(MACHINE.clearance, float(g), table) is None]
    assert free
    for gantry in free:
        # HFS: +x of LPS is fixed +X, the source taken without the table's turn
        x = source_lps(gantry_deg=gantry, patient_position="HFS", isocentre_lps=(0, 0, 0))[0]
        assert np.sign(x) != np.sign(foot_x) or abs(x) < 400.0, gantry


def test_coplanar_beams_are_free_and_the_unknown_is_refused() -> None:
    assert MACHINE.clearance is not None and MACHINE.clearance.source.startswith("declared")
    assert all(clearance_refusal(MACHINE.clearance, float(g), 0.0) is None for g in range(360))
    assert "not in the clearance table" in str(clearance_refusal(MACHINE.clearance, 0.0, 180.0))
    assert clearance_refusal(None, 90.0, 0.0) is None
    assert "no clearance table" in str(clearance_refusal(None, 0.0, 10.0))


def test_a_machine_file_keeps_its_table(tmp_path: Path) -> None:
    again = load_machine(write_machine(MACHINE, tmp_path / "m.toml"))
    assert again.clearance == MACHINE.clearance
    text = (tmp_path / "m.toml").read_text()
    with pytest.raises(MachineError, match=r"unknown key.*gantry_degrees"):
        parse_machine(text.replace("gantry_deg = ", "gantry_degrees = ", 1))
    with pytest.raises(MachineError, match="out of range"):
        ClearanceRange((0.0, 400.0), ((0.0, 10.0),))
    with pytest.raises(MachineError, match="source"):
        Clearance((ClearanceRange((0.0, 0.0), ((0.0, 360.0),)),), "")


def arc(first: float, last: float, direction: str, table: float = 0.0) -> Beam:
    points = tuple(
        ControlPoint(
            cumulative_weight=w,
            gantry_deg=g,
            table_deg=table,
            isocentre_lps=(0.0, 0.0, 0.0),
            gantry_direction=d,
            jaw_x_mm=(-50.0, 50.0),
            jaw_y_mm=(-50.0, 50.0),
        )
        for w, g, d in ((0.0, first, direction), (1.0, last, "NONE"))
    )
    return Beam(number=1, name="arc", mu=100.0, control_points=points, nominal_energy_mv=6.0)


def test_an_arc_is_followed_between_its_control_points() -> None:
    assert {round(g) for g, _ in positions_of(arc(350.0, 10.0, "CW"))} == {*range(350, 360), *range(11)}
    assert len(positions_of(arc(350.0, 10.0, "CC"))) == 341
