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

from rich.console import Console
from rich.table import Table

from benchmarks.openkbp import COURSE_FRACTIONS, write_planning
from benchmarks.openkbp_data import load
from benchmarks.plan_criteria import TARGET_CRITERIA, planning_goals
from benchmarks.plan_judging import COVERAGE_MARGIN_GY, PatientPlan, judge
from imrt_core.density import density_of
from imrt_core.dicom import read_course, uid_from, write_plan
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import load_machine, mass_density
from imrt_core.optimize import BeamDirection, PlanSettings, make_plan
from imrt_core.patient import InputRefusedError

MACHINE = "generic_6mv"
BEAMS = tuple(BeamDirection(gantry_deg=40.0 * n) for n in range(9))
SETTINGS = PlanSettings(bixel_mm=5.0, dose_grid_mm=3.0)
#: Limits on time, and on the loss from fluence to leaves (% of 70 Gy).
SECONDS_LIMIT, DELIVERABLE_PERCENT = 60.0, 2.0


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
    voxel_mm = settings.optimisation_grid_mm
    return judge(patient, mass, result, seconds=seconds, cpu_seconds=cpu_seconds, voxel_mm=voxel_mm)


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
