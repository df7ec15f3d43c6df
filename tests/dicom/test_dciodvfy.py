"""Everything that is written passes the validator of dicom3tools without an error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imrt_core.dicom import (
    write_dose,
    write_image,
    write_machine_isocentre,
    write_plan,
    write_radiograph,
    write_registration,
    write_structures,
)
from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.machine import load_machine
from imrt_core.optimize import FluenceMap, Technique, sequence
from imrt_core.optimize.delivery import PlanIdentity, SequencedBeam, assemble_plan
from imrt_core.patient import Grid, PatientIdentity, PatientImage, RigidTransform, Volume

from .objects import day_image, dose, image, plan, structures
from .test_rtimage import radiograph

pytestmark = pytest.mark.service

MATCH = RigidTransform.from_parameters(translation_mm=(1, 2, 3), rotation_deg=(1, 2, 3))


def validate(file: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.fail("dciodvfy is missing: install the Debian package dicom3tools (tools/services.sh does)")
    run = subprocess.run([program, str(file)], capture_output=True, text=True, check=False, timeout=60)
    lines = (run.stdout + run.stderr).splitlines()
    assert not [line for line in lines if line.startswith("Error")], "\n".join(lines)
    # A crash says no "Error" either.
    assert run.returncode == 0, "\n".join(lines)


def _oblique_bare_image() -> PatientImage:
    rotation = Rotation.from_euler("zxy", [20, -30, 40], degrees=True).as_matrix()
    grid = Grid((3, 5, 7), (1 / 3, 2 / 3, 1.1), (0.1, -1 / 3, 1e-7), tuple(map(tuple, rotation)))  # type: ignore[arg-type]
    return PatientImage(Volume(np.zeros(grid.shape, np.float32), grid), PatientIdentity(""))


def _ct(path: Path) -> Path:
    return write_image(image(), path.parent / "ct")[0]


def _bare_ct(path: Path) -> Path:
    return write_image(_oblique_bare_image(), path.parent / "ct")[-1]


def _structures(path: Path) -> Path:
    return write_structures(structures(image()), image=image(), path=path)


def _unreviewed(path: Path) -> Path:
    return write_structures(structures(image()), image=image(), path=path, unreviewed=True)


def _plan(path: Path) -> Path:
    return write_plan(plan(image()), image=image(), path=path)


def _bare_plan(path: Path) -> Path:
    ct = image()
    beam = plan(ct).beams[0]
    points = tuple(replace(p, leaves_mm=None, dose_rate_mu_per_min=None) for p in beam.control_points)
    beam = replace(beam, control_points=points, machine_name="", beam_dose_gy=None, beam_dose_point_lps=None, mlc=None)
    bare = plan(ct, beams=(beam,), prescription_gy=(), predecessor_uid="")
    return write_plan(bare, image=ct, path=path)


def _sequenced(path: Path, technique: Technique) -> Path:
    ct, machine = image(), load_machine("generic_6mv")
    fluence = FluenceMap(
        np.array([[0, 4, 9, 2], [3, 12, 0, 5], [1, 8, 7, 0]], dtype=float),
        np.arange(-10.0, 11, 5),
        np.arange(-5.0, 11, 5),
    )
    leaves = sequence(
        fluence,
        machine.mlc,
        machine.limits,
        transmission=machine.model.mlc_transmission,
        technique=technique,
        minimum_segment_area_mm2=20.0,
    )
    beam = SequencedBeam(1, BeamGeometry(40.0, (1.0, 2.0, 3.0), "HFS"), leaves)
    identity = PlanIdentity(
        label="RESEARCH igrt",
        plan_uid="1.2.3.4.5",
        fractions_planned=35,
        prescription_gy=(("PTV70", 70.0),),
        frame_of_reference_uid=ct.frame_of_reference_uid,
        structure_set_uid="1.2.3.4",
        patient_position="HFS",
    )
    return write_plan(assemble_plan([beam], machine, identity), image=ct, path=path)


def _sliding_window(path: Path) -> Path:
    return _sequenced(path, Technique.SLIDING_WINDOW)


def _step_and_shoot(path: Path) -> Path:
    return _sequenced(path, Technique.STEP_AND_SHOOT)


def _dose(path: Path) -> Path:
    # In the default 16 bits: dciodvfy aborts on any 32-bit pixel data (two bytes in a word at most), vendors' doses
    # included. All other attributes are the same; see test_32_bits_differ_from_16_in_the_pixels_only.
    return write_dose(dose(image()), image=image(), path=path, structures_uid="1.2.3.4")


def _fraction_dose(path: Path) -> Path:
    return write_dose(dose(image(), summation_type="FRACTION_SESSION"), image=image(), path=path)


def _reference_dose(path: Path) -> Path:
    return write_dose(dose(image(), plan_uid="", comment=""), image=image(), path=path)


def _registration(path: Path) -> Path:
    ct = image()
    return write_registration(MATCH, fixed=ct, moving=day_image(ct), path=path, machine_isocentre_lps=(1.0, 2.0, 3.0))


def _registration_in_one_study(path: Path) -> Path:
    ct = image()
    day = replace(day_image(ct), study_uid=ct.study_uid, frame_of_reference_uid=ct.frame_of_reference_uid, acquired="")
    return write_registration(MATCH, fixed=replace(ct, acquired=""), moving=day, path=path)


def _machine_isocentre(path: Path) -> Path:
    return write_machine_isocentre((1.0, 2.0, 3.0), image=image(), path=path)


def _drr(path: Path) -> Path:
    return write_radiograph(radiograph(), image=image(), path=path)


def _simulated_kv(path: Path) -> Path:
    shown = radiograph(isocentre_lps=None, label="")
    return write_radiograph(shown, image=_oblique_bare_image(), path=path, kind="RADIOGRAPH")


@pytest.mark.parametrize(
    "write",
    [
        _ct,
        _bare_ct,
        _structures,
        _unreviewed,
        _plan,
        _bare_plan,
        _sliding_window,
        _step_and_shoot,
        _dose,
        _fraction_dose,
        _reference_dose,
        _registration,
        _registration_in_one_study,
        _machine_isocentre,
        _drr,
        _simulated_kv,
    ],
)
def test_no_error(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    validate(write(tmp_path / "object.dcm"))
