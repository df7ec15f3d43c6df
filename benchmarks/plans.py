"""Deliverable plans of OpenKBP patients against the dose that the data set ships.

``python -m benchmarks.plans NPZ_DIR [--only ID …] [--json] [--save FILE] [--work DIR]``

Every patient goes from DICOM to RTPLAN with nobody at the keyboard: 9 equidistant 6 MV beams, 5 mm bixels, sliding
window, collapsed-cone dose on a 3 mm grid. Both doses are judged on the data set's grid by the same code
(:mod:`benchmarks.plan_criteria`), targets without voxels of air and with them. Organ means are comparable only where
the planned D95 and D99 of every target are not more than 0.5 Gy below the reference's.

``seconds`` is the wall time from the influence matrix to the final dose, ``cpu_seconds`` what the process used in it
over all threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.openkbp import COURSE_FRACTIONS, write_planning
from benchmarks.openkbp_data import OpenKbpPatient, load
from benchmarks.plan_criteria import (
    AIR_BELOW_G_PER_CM3,
    TARGET_CRITERIA,
    Criterion,
    coverage_gy,
    organ_criteria,
    organ_means_gy,
    planning_goals,
    target_criteria,
)
from imrt_core.density import density_of
from imrt_core.dicom import read_course, uid_from, write_plan
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import load_machine, mass_density
from imrt_core.optimize import BeamDirection, PlanResult, PlanSettings, make_plan
from imrt_core.patient import InputRefusedError, Volume

MACHINE = "generic_6mv"
BEAMS = tuple(BeamDirection(gantry_deg=40.0 * n) for n in range(9))
SETTINGS = PlanSettings(bixel_mm=5.0, dose_grid_mm=3.0)
#: Coverage that makes organ means comparable, the limit on time, and on the loss from fluence to leaves (% of 70 Gy).
COVERAGE_MARGIN_GY, SECONDS_LIMIT, DELIVERABLE_PERCENT = 0.5, 60.0, 2.0


@dataclass(frozen=True)
class PatientPlan:
    """One patient's figures, ours and (``_reference``) the shipped dose's.

    Parameters
    ----------
    id : str
        Of the file.
    targets_met, targets_judged, oars_met, oars_judged : int
        Criteria; targets without voxels of air.
    targets_met_with_air : int
        The same with every voxel of the mask.
    coverage_difference_gy : float
        Ours − reference, the least over D95 and D99 of all targets, without air.
    organs_comparable : bool
        Whether that is at least −0.5 Gy.
    oar_mean_gy : float
        Mean over the organs of their mean dose.
    oar_means_gy : dict of str to float
        By organ.
    fluence_difference_percent : dict of str to float
        Deliverable − fluence-optimal of every criterion, % of 70 Gy, on the voxels of the optimisation.
    criteria, criteria_reference : tuple of Criterion
        All of them, with values.
    goals : tuple of str
        Of the planner, with the values that its own evaluator found (sub-voxels of the contours, air included).
    seconds, cpu_seconds : float
        Influence matrix to final dose.
    """

    id: str
    targets_met: int
    targets_met_reference: int
    targets_met_with_air: int
    targets_met_with_air_reference: int
    targets_judged: int
    oars_met: int
    oars_met_reference: int
    oars_judged: int
    coverage_difference_gy: float
    coverage_gy: dict[str, float]
    coverage_reference_gy: dict[str, float]
    organs_comparable: bool
    oar_mean_gy: float
    oar_mean_reference_gy: float
    oar_means_gy: dict[str, float]
    oar_means_reference_gy: dict[str, float]
    fluence_difference_percent: dict[str, float]
    criteria: tuple[Criterion, ...]
    criteria_reference: tuple[Criterion, ...]
    mu: float
    segments: int
    feasible: bool
    goals: tuple[str, ...]
    goals_met: int
    goals_judged: int
    seconds: float
    cpu_seconds: float
    stage_seconds: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """A patient without a plan, with what was said."""

    id: str
    message: str


def plan_patient(npz: Path, work: Path, *, settings: PlanSettings = SETTINGS) -> PatientPlan:
    """Convert a patient, read the DICOM back, plan, write the RTPLAN and judge.

    Parameters
    ----------
    npz : Path
        See :func:`benchmarks.openkbp_data.load`.
    work : Path
        Gets ``ID/plan/`` (CT, RTSTRUCT, RTDOSE) and ``ID/rtplan.dcm``.
    settings : PlanSettings
        Of the planner.

    Raises
    ------
    InputRefusedError
        If the patient cannot be read, or no plan be made.
    """
    patient = load(npz)
    folder = work / patient.name
    write_planning(patient, folder / "plan")
    data = read_course(folder / "plan")
    machine = load_machine(MACHINE)
    prescription_gy = tuple((name, dose_gy) for name, dose_gy, _ in TARGET_CRITERIA if name in data.structures)
    isocentre_lps = target_isocentre_lps(data.structures)
    density = density_of(
        data.ct.hu,
        data.structures,
        machine.density_curve(data.ct.scanner),
        couch=machine.couch,
        patient_position=data.ct.patient_position,
        isocentre_lps=isocentre_lps,
    )
    drawn = frozenset(s.name for s in data.structures if not s.is_empty)
    started, cpu_started = time.perf_counter(), time.process_time()
    result = make_plan(
        density.red,
        data.structures,
        machine,
        goals=planning_goals(drawn),
        prescription_gy=prescription_gy,
        fractions=COURSE_FRACTIONS,
        beams=BEAMS,
        isocentre_lps=isocentre_lps,
        patient_position=data.ct.patient_position or "HFS",
        settings=settings,
        plan_uid=uid_from("openkbp", patient.name, "igrt plan"),
    )
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    write_plan(result.plan, image=data.ct, path=folder / "rtplan.dcm")
    mass = mass_density(patient.hu, machine.density_curve(data.ct.scanner), saturate=True)
    return judge(patient, mass, result, seconds=seconds, cpu_seconds=cpu_seconds)


def judge(
    patient: OpenKbpPatient, mass_g_per_cm3: Volume, result: PlanResult, *, seconds: float, cpu_seconds: float
) -> PatientPlan:
    """Judge a plan and the shipped dose by the same criteria on the data set's grid."""
    masks = {name: np.asarray(mask.array, dtype=bool) for name, mask in patient.masks}
    voxel_mm3 = 1000.0 * patient.hu.grid.voxel_volume_cc
    tissue = np.asarray(mass_g_per_cm3.array >= AIR_BELOW_G_PER_CM3)
    reference = patient.course_dose_gy.array
    ours = result.course_dose_gy.resampled_to(patient.hu.grid, outside=0.0).array
    targets, targets_reference = (target_criteria(dose, masks, counted=tissue) for dose in (ours, reference))
    organs, organs_reference = (organ_criteria(dose, masks, voxel_mm3) for dose in (ours, reference))
    covered, covered_reference = (coverage_gy(dose, masks, counted=tissue) for dose in (ours, reference))
    means, means_reference = (organ_means_gy(dose, masks) for dose in (ours, reference))
    difference_gy = min(covered[name] - covered_reference[name] for name in covered)
    return PatientPlan(
        id=patient.name,
        targets_met=_met(targets),
        targets_met_reference=_met(targets_reference),
        targets_met_with_air=_met(target_criteria(ours, masks)),
        targets_met_with_air_reference=_met(target_criteria(reference, masks)),
        targets_judged=len(targets),
        oars_met=_met(organs),
        oars_met_reference=_met(organs_reference),
        oars_judged=len(organs),
        coverage_difference_gy=difference_gy,
        coverage_gy=covered,
        coverage_reference_gy=covered_reference,
        organs_comparable=difference_gy >= -COVERAGE_MARGIN_GY,
        oar_mean_gy=float(np.mean(list(means.values()))),
        oar_mean_reference_gy=float(np.mean(list(means_reference.values()))),
        oar_means_gy=means,
        oar_means_reference_gy=means_reference,
        fluence_difference_percent=_fluence_difference(patient, masks, tissue, result),
        criteria=(*targets, *organs),
        criteria_reference=(*targets_reference, *organs_reference),
        mu=result.mu,
        segments=result.segments,
        feasible=result.feasible,
        goals=tuple(f"{judged.goal}: {judged.value:.2f}" for judged in result.goals),
        goals_met=sum(goal.ok for goal in result.goals),
        goals_judged=len(result.goals),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        stage_seconds=dict(result.stage_seconds),
    )


def _met(criteria: tuple[Criterion, ...]) -> int:
    return sum(criterion.met for criterion in criteria)


def _fluence_difference(
    patient: OpenKbpPatient, masks: dict[str, Any], tissue: Any, result: PlanResult
) -> dict[str, float]:
    """Deliverable − fluence-optimal of every criterion in % of the highest prescription, both at the same points."""
    if result.optimum is None:
        return {}
    points = result.optimum.points_lps
    index = np.rint(patient.hu.grid.to_index(points)).astype(np.int64)[:, ::-1]
    inside = np.all((index >= 0) & (index < patient.hu.grid.shape), axis=1)
    place = tuple(index[inside].T)
    at_points = {name: mask[place] for name, mask in masks.items()}
    optimal = result.optimum.course_dose_gy[inside]
    delivered = result.course_dose_gy.sample(points[inside], outside=0.0)
    voxel_mm3 = SETTINGS.optimisation_grid_mm**3

    def values(dose: Any) -> dict[str, float]:
        judged = (
            *target_criteria(dose, at_points, counted=tissue[place]),
            *organ_criteria(dose, at_points, voxel_mm3),
        )
        return {f"{c.structure} {c.metric}": c.value_gy for c in judged}

    ours, wanted = values(delivered), values(optimal)
    highest_gy = TARGET_CRITERIA[0][1]
    return {name: 100.0 * (ours[name] - wanted[name]) / highest_gy for name in ours}


def summary(runs: list[PatientPlan], failures: list[Failure]) -> dict[str, Any]:
    """Return the answer: patients, failures, totals and the limits that they stand against."""
    comparable = [run for run in runs if run.organs_comparable]
    organ_pairs = [
        (run.oar_means_gy[name], run.oar_means_reference_gy[name]) for run in comparable for name in run.oar_means_gy
    ]
    return {
        "schema_version": 1,
        "patients": [asdict(run) for run in runs],
        "failed": [asdict(failure) for failure in failures],
        "totals": {
            name: sum(getattr(run, name) for run in runs)
            for name in (
                "targets_met",
                "targets_met_reference",
                "targets_met_with_air",
                "targets_met_with_air_reference",
                "targets_judged",
                "oars_met",
                "oars_met_reference",
                "oars_judged",
            )
        },
        "patients_comparable": len(comparable),
        "organ_means_not_higher": sum(ours <= reference for ours, reference in organ_pairs),
        "organ_means_compared": len(organ_pairs),
        "largest_fluence_difference_percent": max(
            (abs(value) for run in runs for value in run.fluence_difference_percent.values()), default=None
        ),
        "limits": {
            "coverage_margin_gy": COVERAGE_MARGIN_GY,
            "seconds": SECONDS_LIMIT,
            "deliverable_percent": DELIVERABLE_PERCENT,
        },
    }


def _table(runs: list[PatientPlan], failures: list[Failure]) -> Table:
    table = Table(title="OpenKBP: deliverable plan / shipped dose")
    columns = ("patient", "targets met", "organs met", "ΔD95, D99 Gy", "organ means Gy", "fluence %", "s", "CPU s")
    for column in columns:
        table.add_column(column, justify="left" if column == "patient" else "right")
    for run in runs:
        table.add_row(
            run.id,
            f"{run.targets_met} / {run.targets_met_reference} of {run.targets_judged}",
            f"{run.oars_met} / {run.oars_met_reference} of {run.oars_judged}",
            f"{run.coverage_difference_gy:+.1f}",
            f"{run.oar_mean_gy:.1f} / {run.oar_mean_reference_gy:.1f}" + ("" if run.organs_comparable else " *"),
            f"{max(map(abs, run.fluence_difference_percent.values()), default=float('nan')):.1f}",
            f"{run.seconds:.0f}",
            f"{run.cpu_seconds:.0f}",
        )
    for failure in failures:
        table.add_row(failure.id, "failed", failure.message[:60], style="red")
    return table


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plans", description=__doc__)
    parser.add_argument("npz_dir", type=Path, help="folder of OpenKBP .npz files")
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="plan these patients")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="write the JSON object here, after every patient")
    parser.add_argument("--work", type=Path, help="keep the DICOM files here (default: a temporary folder)")
    options = parser.parse_args()
    files = sorted(options.npz_dir.glob("*.npz"))
    unknown = set(options.only) - {npz.stem for npz in files}
    if not files or unknown:
        parser.error(f"no patient {', '.join(sorted(unknown)) or '(.npz)'} in {options.npz_dir}")
    wanted = [npz for npz in files if not options.only or npz.stem in options.only]
    progress = Console(stderr=True)
    runs: list[PatientPlan] = []
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(prefix="igrt-plans-") as scratch:
        work = (options.work or Path(scratch)).resolve()
        for number, npz in enumerate(wanted, start=1):
            progress.print(f"[{number}/{len(wanted)}] {npz.stem}")
            try:
                runs.append(plan_patient(npz, work))
            except InputRefusedError as error:
                failures.append(Failure(npz.stem, str(error)))
            if options.save:
                # After every patient: a long run that is stopped keeps what it found.
                options.save.parent.mkdir(parents=True, exist_ok=True)
                options.save.write_text(json.dumps(summary(runs, failures), indent=1) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(summary(runs, failures)) + "\n")
    else:
        Console().print(_table(runs, failures))


if __name__ == "__main__":
    main()
