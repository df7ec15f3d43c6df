"""Every OpenKBP patient of a folder through ``course add`` and N daily fractions, against the known shift.

``python -m benchmarks.daily NPZ_DIR [--fractions 2] [--json] [--save FILE]``

Daily images are simulated from the planning CT (no open set has a planning CT and the same patient's CBCT), with the
simulator's own resampler and noise. The error of a fraction compares the reported couch shift with the one that the
true bony transform gives at the same two isocentres: shift as the length of the difference vector, rotation as the
angle of the residual rotation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from benchmarks.openkbp import convert

#: Targets of the issue: shift and rotation recovered, and the median time of a fraction.
SHIFT_LIMIT_MM, ROTATION_LIMIT_DEG, MEDIAN_SECONDS_LIMIT = 0.5, 0.5, 60.0


@dataclass(frozen=True)
class PatientRun:
    """One patient's figures; errors are the largest over the fractions, seconds the median fraction."""

    id: str
    shift_error_mm: float
    rotation_error_deg: float
    seconds: float
    decision: str
    decisions: tuple[str, ...]
    course_add_seconds: float
    dvh_mean_difference_gy: float
    dvh_d95_difference_gy: float
    reports_written: int
    goals_met: int
    goals_judged: int


@dataclass(frozen=True)
class Failure:
    """A patient that did not reach the end, with what was said."""

    id: str
    step: str
    message: str


class StepFailedError(RuntimeError):
    """A command of the chain that did not end with 0 or 4."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


def _igrt(step: str, *arguments: str, home: Path) -> dict[str, Any]:
    """Run one command as a user would; 0 is done, 4 is done but a person must look."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--json"],
        env={**os.environ, "IGRT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 4):
        raise StepFailedError(step, f"exit {done.returncode}: {done.stdout.strip()[-600:]} {done.stderr[-600:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def shift_error_mm(found: list[float], truth: list[float]) -> float:
    """Length of the difference of two couch shifts [vertical, longitudinal, lateral], in mm."""
    return float(np.linalg.norm(np.subtract(found, truth)))


def rotation_error_deg(found: list[float], truth: list[float]) -> float:
    """Angle in degrees between two rotations given as [pitch, roll, yaw] with R = Rz(yaw)·Rx(pitch)·Ry(roll)."""

    def rotation(angles: list[float]) -> Rotation:
        pitch, roll, yaw = angles
        return Rotation.from_euler("ZXY", [yaw, pitch, roll], degrees=True)

    return float(np.degrees((rotation(found) * rotation(truth).inv()).magnitude()))


def run_patient(npz: Path, work: Path, *, fractions: int, seed: int) -> PatientRun:
    """Convert one patient, add the course, run its fractions and compare with the truth.

    Raises
    ------
    StepFailedError
        If a command of the chain fails.
    """
    name = npz.stem
    dicom, home = work / name, work / "home"
    conversion = convert(npz, dicom, fractions=fractions, seed=seed)
    added = _igrt(
        "course add", "course", "add", str(dicom / "plan"), "--protocol", "head-and-neck", "--id", name, home=home
    )
    shifts, rotations, seconds, decisions, reports = [], [], [], [], 0
    for fraction in conversion.fractions:
        label = fraction.dir.name
        result = _igrt(label, "fraction", "run", name, label, "--setup", str(fraction.dir), home=home)
        if result["shift_mm"] is None:
            raise StepFailedError(label, f"couch shift withheld: {'; '.join(result['reasons'])}")
        shifts.append(shift_error_mm(result["shift_mm"], list(fraction.shift_mm)))
        rotations.append(rotation_error_deg(result["rotation_deg"], list(fraction.rotation_deg)))
        seconds.append(float(result["seconds"]))
        decisions.append(str(result["decision"]))
        reports += Path(result["report"]).is_file()
    goals = added["goals"]
    return PatientRun(
        id=name,
        shift_error_mm=max(shifts),
        rotation_error_deg=max(rotations),
        seconds=float(np.median(seconds)),
        decision=decisions[-1],
        decisions=tuple(decisions),
        course_add_seconds=float(added["seconds"]),
        dvh_mean_difference_gy=conversion.dvh_mean_difference_gy,
        dvh_d95_difference_gy=conversion.dvh_d95_difference_gy,
        reports_written=reports,
        goals_met=sum(bool(g["ok"]) for g in goals),
        goals_judged=len(goals),
    )


def _table(runs: list[PatientRun], failures: list[Failure]) -> Table:
    table = Table(title="OpenKBP patients, daily chain on simulated images")
    for column in ("patient", "shift error mm", "rotation error °", "s/fraction", "course add s", "decisions", "goals"):
        table.add_column(column, justify="left" if column in ("patient", "decisions") else "right")
    table.add_column("DVH Δmean / ΔD95 Gy", justify="right")
    for run in runs:
        table.add_row(
            run.id,
            f"{run.shift_error_mm:.2f}",
            f"{run.rotation_error_deg:.2f}",
            f"{run.seconds:.0f}",
            f"{run.course_add_seconds:.0f}",
            ", ".join(run.decisions),
            f"{run.goals_met}/{run.goals_judged}",
            f"{run.dvh_mean_difference_gy:.2f} / {run.dvh_d95_difference_gy:.2f}",
        )
    for failure in failures:
        table.add_row(failure.id, "failed", failure.step, failure.message[:60], style="red")
    return table


def _answer(runs: list[PatientRun], failures: list[Failure]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "patients": [asdict(run) for run in runs],
        "failed": [asdict(failure) for failure in failures],
        "median_seconds": float(np.median([run.seconds for run in runs])) if runs else None,
        "within_limits": sum(
            run.shift_error_mm <= SHIFT_LIMIT_MM and run.rotation_error_deg <= ROTATION_LIMIT_DEG for run in runs
        ),
        "limits": {
            "shift_mm": SHIFT_LIMIT_MM,
            "rotation_deg": ROTATION_LIMIT_DEG,
            "median_seconds": MEDIAN_SECONDS_LIMIT,
        },
    }


def _save(path: Path, answer: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answer, indent=1) + "\n")


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.daily", description=__doc__)
    parser.add_argument("npz_dir", type=Path, help="folder of OpenKBP .npz files")
    parser.add_argument("--fractions", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here")
    parser.add_argument("--work", type=Path, help="keep courses and DICOM here (default: a temporary folder)")
    options = parser.parse_args()
    files = sorted(options.npz_dir.glob("*.npz"))
    if not files:
        parser.error(f"no .npz file in {options.npz_dir}")
    progress = Console(stderr=True)
    runs: list[PatientRun] = []
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(prefix="igrt-daily-") as scratch:
        work = (options.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        for number, npz in enumerate(files, start=1):
            progress.print(f"[{number}/{len(files)}] {npz.stem}")
            try:
                runs.append(run_patient(npz, work, fractions=options.fractions, seed=options.seed + number))
                progress.print(f"    {runs[-1]}")
            except StepFailedError as error:
                failures.append(Failure(npz.stem, error.step, str(error)))
                progress.print(f"    [red]failed[/red] {failures[-1]}")
            if options.save:
                # After every patient: a long run that is stopped keeps what it found.
                _save(options.save, _answer(runs, failures))
    if options.json:
        sys.stdout.write(json.dumps(_answer(runs, failures)) + "\n")
    else:
        Console().print(_table(runs, failures))


if __name__ == "__main__":
    main()
