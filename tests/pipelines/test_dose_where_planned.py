"""CLINICAL, couch shift: a moved patient is shifted, exported, read back and recomputed; the dose is where planned.

The truth is the rigid motion that moved the patient. Doses are compared at the same points of the anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from imrt_core.dicom import read_image, read_plan, read_structures, write_image, write_plan, write_structures
from imrt_core.dose import plan_dose
from imrt_core.evaluate import gamma
from imrt_core.machine import load_machine
from imrt_core.patient import (
    Beam,
    ControlPoint,
    Grid,
    PatientIdentity,
    PatientImage,
    Plan,
    RigidTransform,
    Scanner,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import structure_from_mask
from pipelines.results import DayDensity, DayImage, DayShift
from pipelines.stages.day import shift_of_day
from pipelines.stages.dose import density, dose_grid, dose_of_day, with_isocentre
from pipelines.stages.plans import moved_patient, moved_volume
from registration import DayStructures, MatchQuality, RigidMatch, TableLimits, warp, warp_structures

MACHINE = load_machine("generic_6mv")
PLANNED, MACHINE_ISOCENTRE = (6.0, -8.0, 5.0), (14.0, -6.0, 22.0)
#: Planning point to point of the day: 8 mm left, 6 mm anterior, 5 mm superior of where it should be, and turned.
MOVED = RigidTransform.from_parameters(
    translation_mm=np.add(np.subtract(MACHINE_ISOCENTRE, PLANNED), (8.0, -6.0, 5.0)),
    rotation_deg=(2.0, -1.5, 2.5),
    centre_lps=PLANNED,
)
FINE_TABLE = TableLimits(translation_step_mm=0.01, rotation_step_deg=0.01, limit_deg=(8.0, 8.0, 8.0))


@dataclass(frozen=True, eq=False)
class Case:
    """A patient of solids without any symmetry, a plan of two fields without any, and its dose."""

    image: PatientImage
    structures: StructureSet
    plan: Plan
    dose_gy: Volume

    @classmethod
    def lying(cls, position: str) -> Case:
        grid = Grid((34, 44, 52), (4.0, 4.0, 4.0), (-102.0, -86.0, -66.0))
        x, y, z = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
        body = ((x / 85) ** 2 + (y / (66 + 0.1 * z)) ** 2 < 1) & (np.abs(z) < 56)
        hu = np.where(body, 0.0, -1000.0)
        hu[body & (np.hypot(x - 30, y - 22) < 14)] = 700.0
        hu[body & (np.sqrt((x + 35) ** 2 + (y + 15) ** 2 + (z - 15) ** 2) < 24)] = -650.0
        image = PatientImage(
            hu=Volume(hu.astype(np.float32), grid),
            patient=PatientIdentity("SOLIDS", "Solids"),
            frame_of_reference_uid="1.2.3.1",
            study_uid="1.2.3.2",
            series_uid="1.2.3.3",
            slice_uids=tuple(f"1.2.3.4.{k}" for k in range(grid.shape[0])),
            patient_position=position,
            acquired="2026-01-05T09:00:00",
            scanner=Scanner("CT", "igrt", "solids", "CT1", 120.0),
        )
        external = structure_from_mask(
            Volume(body.astype(np.float32), grid), name="External", interpreted_type="EXTERNAL"
        )
        structures = StructureSet((external,), "1.2.3.1", sop_instance_uid="1.2.3.5", referenced_series_uid="1.2.3.3")
        plan = Plan(
            (_field(1, 50.0, (-42.0, 14.0), (-18.0, 34.0), 20.0), _field(2, 290.0, (-10.0, 36.0), (-38.0, 12.0), 0.0)),
            label="SOLIDS",
            frame_of_reference_uid="1.2.3.1",
            structure_set_uid="1.2.3.5",
            sop_instance_uid="1.2.3.6",
            patient_position=position,
        )
        return cls(image, structures, plan, _recomputed(image, structures, plan))


def _field(number: int, gantry: float, jaw_x: tuple[float, float], jaw_y: tuple[float, float], turned: float) -> Beam:
    state = {"isocentre_lps": PLANNED, "jaw_x_mm": jaw_x, "jaw_y_mm": jaw_y, "collimator_deg": turned}
    return Beam(number, f"field {number}", 100.0, tuple(ControlPoint(w, gantry, **state) for w in (0.0, 1.0)))  # type: ignore[arg-type]


def _density(image: PatientImage, structures: StructureSet) -> Volume:
    return density(image.hu, structures, MACHINE.density_curve(image.scanner))[0]


def _recomputed(image: PatientImage, structures: StructureSet, plan: Plan) -> Volume:
    """Return the dose of a plan on an image, from nothing but these objects."""
    red = _density(image, structures)
    grid = dose_grid(red.grid, structures)
    return plan_dose(plan, red, MACHINE, dose_grid=grid, patient_position=image.patient_position or "").fraction_dose_gy


def _agreement(case: Case, dose_gy: Volume, there_from_planning: RigidTransform) -> float:
    """Return how much of the planned dose is at its place in the anatomy: gamma 3 %/2 mm, % of points (TG-218)."""
    brought_back = warp(dose_gy, there_from_planning, like=case.dose_gy.grid)
    result = gamma(case.dose_gy, brought_back, dose_percent=3.0, distance_mm=2.0, cutoff_percent=10.0, max_gamma=1.01)
    return result.pass_percent


def _day(case: Case) -> tuple[PatientImage, StructureSet]:
    """Image and structures of the day, as acquired, on a grid of their own."""
    grid = Grid((38, 48, 56), (4.0, 4.0, 4.0), (-98.0, -96.0, -52.0))
    hu = case.image.hu.sample(MOVED.inverse().apply(grid.voxel_centres_lps()), outside=-1000.0)
    image = replace(
        case.image,
        hu=Volume(hu.astype(np.float32), grid),
        frame_of_reference_uid="1.2.4.1",
        series_uid="1.2.4.3",
        slice_uids=tuple(f"1.2.4.4.{k}" for k in range(grid.shape[0])),
    )
    drawn = warp_structures(
        case.structures,
        MOVED.inverse(),
        like=grid,
        frame_of_reference_uid=image.frame_of_reference_uid,
        referenced_series_uid=image.series_uid,
    )
    return image, drawn


@pytest.mark.parametrize("table_angle_deg", [0.0, 40.0])
@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP"])
def test_the_dose_is_where_it_was_planned(position: str, table_angle_deg: float, tmp_path: Path) -> None:
    case = Case.lying(position)
    image, drawn = _day(case)
    quality = MatchQuality(True, (), "body", 1.0, 1.0, 1.0, *(0.0,) * 7, 1000)
    shift = shift_of_day(
        RigidMatch(MOVED, PLANNED, 1.0, quality, 0.0),
        DayImage(image, "image", 1),
        planned_isocentre_lps=PLANNED,
        machine_isocentre_lps=MACHINE_ISOCENTRE,
        machine_isocentre_source="option",
        table=FINE_TABLE,
        table_angle_deg=table_angle_deg,
    )
    assert shift.motion is not None
    red = _density(image, drawn)
    day = DayDensity(image.hu, red, "solids", "curve", True, (), 0.0, 0.0, {}, None)
    structures = DayStructures(drawn, (), True, ())

    def agreement(used: DayShift) -> float:
        dose = dose_of_day(case.plan, day, structures, used, MACHINE)
        return _agreement(case, dose.fraction_dose_gy, MOVED)

    assert agreement(shift) > 97.0
    # Not unshifted, not shifted twice, not shifted the wrong way.
    for wrong in (RigidTransform.identity(), shift.motion @ shift.motion, shift.motion.inverse()):
        assert agreement(replace(shift, motion=wrong)) < 60.0

    # Exported as the plan of a day is (for the patient after the shift), read back, recomputed.
    _, after = moved_patient(red, drawn, shift.motion)
    hu = moved_volume(image.hu, shift.motion, outside=-1000.0)
    shifted = replace(
        image,
        hu=hu,
        frame_of_reference_uid="1.2.5.1",
        series_uid="1.2.5.3",
        slice_uids=tuple(f"1.2.5.4.{k}" for k in range(hu.grid.shape[0])),
    )
    write_image(shifted, tmp_path / "CT")
    after = replace(
        after, frame_of_reference_uid="1.2.5.1", referenced_series_uid="1.2.5.3", sop_instance_uid="1.2.5.5"
    )
    write_structures(after, image=shifted, path=tmp_path / "RS.dcm", unreviewed=True)
    plan = replace(
        with_isocentre(case.plan, MACHINE_ISOCENTRE), frame_of_reference_uid="1.2.5.1", structure_set_uid="1.2.5.5"
    )
    write_plan(plan, image=shifted, path=tmp_path / "RP.dcm")
    dose_gy = _recomputed(
        read_image(tmp_path / "CT"), read_structures(tmp_path / "RS.dcm"), read_plan(tmp_path / "RP.dcm")
    )
    assert _agreement(case, dose_gy, shift.motion @ MOVED) > 97.0
    for wrong in (RigidTransform.identity(), MOVED, shift.motion @ shift.motion @ MOVED):
        assert _agreement(case, dose_gy, wrong) < 60.0
