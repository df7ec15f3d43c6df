"""Two computations that share neither code nor tables: the check and the dose engine, in water, within 5 %."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imrt_core.check import check_plan, load_tables
from imrt_core.dicom import read_plan
from imrt_core.dose import plan_dose
from imrt_core.machine import load_machine
from imrt_core.patient import Beam, ControlPoint, Grid, MultileafCollimator, Plan, Volume
from tests.dose.phantoms import water_box

TABLES = load_tables("generic_6mv")
MACHINE = load_machine("generic_6mv")
ISOCENTRE = (0.0, 100.0, 0.0)
MLC = MultileafCollimator(tuple(float(v) for v in range(-100, 101, 5)))


def window_beam(number: int, gantry: float, *, width: float, table: float = 0.0) -> Beam:
    """A sliding window over 10 × 8 cm whose leaves lag behind each other by a smooth 10 mm."""
    lag = 5 * np.sin(np.linspace(0, 3, MLC.pairs))
    points = []
    for weight in np.linspace(0, 1, 12):
        left = -50.0 - width + (100.0 + width) * weight + lag
        leaves = np.clip(np.stack([left, left + width]), -50.0, 50.0)
        points.append(
            ControlPoint(
                float(weight),
                gantry,
                ISOCENTRE,
                table_deg=table,
                collimator_deg=10.0,
                jaw_x_mm=(-50.0, 50.0),
                jaw_y_mm=(-40.0, 40.0),
                leaves_mm=leaves,
            )
        )
    return Beam(number, f"beam {number}", 200.0, tuple(points), mlc=MLC)


def test_modulated_beams_in_water() -> None:
    red: Volume = water_box((320.0, 260.0, 320.0))
    beams = (
        window_beam(1, 0.0, width=30.0),
        window_beam(2, 40.0, width=50.0, table=15.0),
        window_beam(3, 320.0, width=20.0, table=345.0),
    )
    plan = Plan(beams)
    small = Grid((1, 1, 1), (5.0, 5.0, 5.0), ISOCENTRE)
    doses = plan_dose(plan, red, MACHINE, dose_grid=small, patient_position="HFS").beams
    planned = {beam.number: dose.dose_at_isocentre_gy for beam, dose in zip(beams, doses, strict=True)}
    found = check_plan(plan, red, TABLES, points_lps=ISOCENTRE, patient_position="HFS", planned_gy=planned)
    assert found.verdict == "agrees", found.text()
    assert max(abs(b.difference_percent or 9.0) for b in found.beams) < 5.0
    assert [b.radiological_depth_mm for b in found.beams] == pytest.approx(
        [d.radiological_depth_mm for d in doses], abs=1.5
    )


@pytest.mark.parametrize(("position", "width_mm"), [("HFS", 35.0), ("HFP", 65.0), ("FFS", 60.0), ("FFP", 55.0)])
def test_an_arc_in_an_elliptic_cylinder(position: str, width_mm: float) -> None:
    """Leaves, a jaw and the gantry move at once, collimator and table turned, the point beside the isocentre."""
    grid = Grid((40, 60, 60), (5.0, 5.0, 5.0), (-147.5, -147.5, -97.5))
    voxels = grid.voxel_centres_lps()
    red = Volume(((voxels[..., 0] / 140) ** 2 + (voxels[..., 1] / 110) ** 2 < 1).astype(np.float32), grid)
    points = []
    for n, weight in enumerate(np.linspace(0, 1, 61)):
        left = -width_mm + 8 * np.sin(n / 6 + np.linspace(0, 2, MLC.pairs))
        points.append(
            ControlPoint(
                float(weight),
                (200.0 + 5 * n) % 360,
                (10.0, 5.0, 0.0),
                gantry_direction="CW",
                collimator_deg=30.0,
                table_deg=10.0,
                jaw_x_mm=(-width_mm - 10.0, 45.0),
                jaw_y_mm=(-50.0 + n / 10, 50.0),
                leaves_mm=np.stack([left, left + width_mm + 10 * np.cos(n / 9)]),
            )
        )
    point = (5.0, -10.0, 8.0)
    plan = Plan((Beam(1, "arc", 400.0, tuple(points), mlc=MLC, beam_dose_point_lps=point),))
    dose_grid = Grid((1, 1, 1), (5.0, 5.0, 5.0), point)
    dose = plan_dose(plan, red, MACHINE, dose_grid=dose_grid, patient_position=position).beams[0]
    assert dose.dose_at_point_gy is not None
    planned = {1: dose.dose_at_point_gy}
    found = check_plan(plan, red, TABLES, points_lps=point, patient_position=position, planned_gy=planned)
    # Edges pass near the point, so that it may not suit a verdict; the two still agree.
    assert abs(found.beams[0].difference_percent or 9.0) < 5.0, found.text()


@pytest.mark.shared_data
def test_real_dynamic_beams_in_water(shared_data: Path) -> None:
    """Both 6 MV beams of the breast plan, at a point that the check itself proposes."""
    whole = read_plan(shared_data / "dicom_breast_imrt" / "rtplan.dcm")
    plan = replace(whole, beams=tuple(b for b in whole.beams if b.nominal_energy_mv == 6.0))
    x, y, z = plan.beams[0].isocentre_lps
    red = water_box((400.0, 300.0, 400.0), top_lps=(x, y - 60, z))
    grid = Grid((34, 24, 34), (5.0, 5.0, 5.0), (x - 85, y - 55, z - 85))
    dose = plan_dose(plan, red, MACHINE, dose_grid=grid, patient_position="HFS")
    at_isocentre = check_plan(
        plan,
        red,
        TABLES,
        points_lps=(x, y, z),
        patient_position="HFS",
        planned_gy={b.number: d.dose_at_isocentre_gy for b, d in zip(plan.beams, dose.beams, strict=True)},
        fraction_dose_gy=dose.fraction_dose_gy,
    )
    # The isocentre lies under a jaw of one beam.
    assert [b.verdict for b in at_isocentre.beams] == ["unsuitable", "agrees"]
    better = at_isocentre.proposed_point
    assert better is not None
    moved = replace(plan, beams=tuple(replace(b, beam_dose_point_lps=better.point_lps) for b in plan.beams))
    dose = plan_dose(moved, red, MACHINE, dose_grid=grid, patient_position="HFS")
    planned = {b.number: d.dose_at_point_gy for b, d in zip(plan.beams, dose.beams, strict=True)}
    found = check_plan(
        moved,
        red,
        TABLES,
        points_lps=better.point_lps,
        patient_position="HFS",
        planned_gy={n: v for n, v in planned.items() if v is not None},
    )
    assert found.verdict == "agrees", found.text()


@pytest.mark.parametrize("side", [30.0, 60.0])
def test_an_island_of_leaves_under_wide_jaws(side: float) -> None:
    """Photons from the head: the check scales measured output, the engine convolves sources."""
    red = water_box((320.0, 260.0, 320.0))
    centres = (np.array(MLC.boundaries_mm[1:]) + np.array(MLC.boundaries_mm[:-1])) / 2
    half = np.where(np.abs(centres) < side / 2, side / 2, 0.0)
    options = {"leaves_mm": np.stack([-half, half]), "jaw_x_mm": (-70.0, 70.0), "jaw_y_mm": (-70.0, 70.0)}
    points = tuple(ControlPoint(w, 0.0, ISOCENTRE, **options) for w in (0.0, 1.0))  # type: ignore[arg-type]
    plan = Plan((Beam(1, "island", 200.0, points, mlc=MLC),))
    small = Grid((1, 1, 1), (5.0, 5.0, 5.0), ISOCENTRE)
    dose = plan_dose(plan, red, MACHINE, dose_grid=small, patient_position="HFS").beams[0].dose_at_isocentre_gy
    found = check_plan(plan, red, TABLES, points_lps=ISOCENTRE, patient_position="HFS", planned_gy={1: dose})
    assert abs(found.beams[0].difference_percent or 9.0) < 2.0, found.text()
