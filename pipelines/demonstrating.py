"""The demo: a digital patient as DICOM, planned, and some of its fractions run with their reports.

A second process simulates the images of the days while this one plans.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from imrt_core.dicom import write_image, write_structures
from imrt_core.phantom import DigitalPatient, SimulatedFraction, build_patient, simulate_fraction

from .compiling import compile_kernels
from .files import copy_tree, write_json
from .home import home
from .registering import AddedCourse, add_course
from .store import CourseFolder
from .treating import FractionOutcome, run_fraction

#: Protocol of each site of the digital patients.
PROTOCOLS = {"head-neck": "head-and-neck", "pelvis": "pelvis", "lung": "lung"}


@dataclass(frozen=True, eq=False)
class DemoFraction:
    """A fraction with its truth."""

    truth: SimulatedFraction
    outcome: FractionOutcome


def fractions_to_run(count: int, *, planned: int) -> tuple[int, ...]:
    """Spread fractions evenly from first to last: 3 of 35 are 1, 18 and 35; one is the first."""
    if count == 1:
        return (1,)
    return tuple(int(n) for n in np.unique(np.floor(np.linspace(1, planned, min(count, planned)) + 0.5)))


def write_demo_dicom(patient: DigitalPatient, folder: Path) -> Path:
    """Write planning CT and structures of a digital patient; an earlier copy is replaced."""
    plan = folder / "plan"
    if plan.exists():
        shutil.rmtree(plan)
    write_image(patient.planning.ct, plan)
    write_structures(patient.planning.structures, image=patient.planning.ct, path=plan / "RS.dcm")
    return plan


def write_day(patient: DigitalPatient, number: int, folder: Path) -> SimulatedFraction:
    """Simulate the image of one day of a digital patient and write it as DICOM; an earlier copy is replaced."""
    day = simulate_fraction(patient, number, fractions=patient.prescription.fractions, seed=patient.seed)
    if folder.exists():
        shutil.rmtree(folder)
    write_image(day.image, folder)
    return day


def demo_course_id(site: str, seed: int) -> str:
    """Return the id of a demo course."""
    return f"demo-{site}" if seed == 0 else f"demo-{site}-{seed}"


def run_demo(
    site: str,
    *,
    fractions: int,
    seed: int,
    out: Path | None,
    on_stage: Callable[[str], None] | None = None,
) -> tuple[AddedCourse, tuple[DemoFraction, ...]]:
    """Build a digital patient, plan it and run some of its fractions through Dagster.

    The demo's course lives in the course store like any other, so that ``igrt ui`` shows it; an earlier demo course of
    the same site and seed is replaced.

    Parameters
    ----------
    site : str
        ``"head-neck"``, ``"pelvis"`` or ``"lung"``.
    fractions : int
        How many to run, spread evenly from first to last.
    seed : int
        Of the patient and of the course.
    out : Path or None
        Where the DICOM, ``truth.json`` and copies of the reports go; None takes ``$IGRT_HOME/demo/<course>``.
    on_stage : callable, optional
        Told what happens, in words.
    """
    tell = on_stage or (lambda _text: None)
    course = demo_course_id(site, seed)
    folder = (out or home() / "demo" / course).resolve()
    compile_kernels(on_stage)
    tell("building the digital patient")
    patient = build_patient(site, seed=seed)
    setups = {n: folder / f"fx{n:02d}" for n in fractions_to_run(fractions, planned=patient.prescription.fractions)}
    dicom = write_demo_dicom(patient, folder)
    # "spawn": a forked child could not use numba's threads after its parent did.
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as beside:
        days = {number: beside.submit(write_day, patient, number, setup) for number, setup in setups.items()}
        added = add_course(
            dicom, protocol=PROTOCOLS[site], course=course, demo=True, replace=may_replace(course), on_stage=on_stage
        )
        done = []
        for number, setup in setups.items():
            tell(f"fx{number:02d}: image of the day")
            truth = days[number].result()
            done.append(DemoFraction(truth, run_fraction(added.folder, number, setup=setup, on_stage=on_stage)))
    write_json(folder / "truth.json", _truth(added, done))
    if out is not None:
        for item in done:
            _replace_copy(item.outcome.fraction.report, folder / "reports" / item.outcome.fraction.key)
    return added, tuple(done)


def may_replace(course: str) -> bool:
    """Return whether a course is a demo's, which alone may be replaced unasked."""
    folder = CourseFolder(course)
    return folder.exists and folder.record().demo


def _truth(added: AddedCourse, done: list[DemoFraction]) -> dict[str, object]:
    return {
        "course": added.record.course,
        "fractions": [
            {
                "fraction": item.outcome.fraction.key,
                "moving_from_fixed_lps": [list(row) for row in item.truth.moving_from_fixed.rows],
                "planned_isocentre_lps": list(item.truth.planned_isocentre_lps),
                "machine_isocentre_lps": list(item.truth.machine_isocentre_lps),
                "shift_mm": list(item.truth.shift_mm),
                "rotation_deg": list(item.truth.rotation_deg),
            }
            for item in done
        ],
    }


def _replace_copy(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    copy_tree(source, target)
