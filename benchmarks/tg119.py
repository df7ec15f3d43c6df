"""Deliverable plans of the TG-119 cases against the report's dose goals.

``python -m benchmarks.tg119 [--case NAME …] [--json] [--save FILE]``

Every case (:mod:`imrt_core.phantom.tg119`) is planned from its goals with the beams of the report, 6 MV, 5 mm bixels,
sliding window, and judged on the collapsed-cone dose of what the leaves deliver (2.5 mm grid, sub-voxel DVH).

Data of comparison: G. A. Ezzell et al., Med. Phys. 36 (2009) 5359-5373, doi:10.1118/1.3238104.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from imrt_core.machine import load_machine
from imrt_core.optimize import BeamDirection, PlanSettings, make_plan
from imrt_core.phantom.tg119 import CASES, Tg119Case, tg119_case

MACHINE = "generic_6mv"
#: Both grids have faces where the structures end: a voxel across the border of two levels would ask for two doses.
#: Small targets with steep fall-offs need more modulation than patients; 5 mm bixels as everywhere.
SETTINGS = PlanSettings(optimisation_grid_mm=2.5, dose_grid_mm=2.5, smoothness=2000.0)


@dataclass(frozen=True)
class GoalFigure:
    """A goal of the report on the deliverable dose."""

    goal: str
    value: float
    limit: float
    met: bool


@dataclass(frozen=True)
class CaseRun:
    """One case; ``seconds`` is wall time from the influence matrix to the final dose, ``cpu_seconds`` all threads'."""

    name: str
    title: str
    beams: int
    goals: tuple[GoalFigure, ...]
    goals_met: int
    mu: float
    segments: int
    seconds: float
    cpu_seconds: float
    stage_seconds: dict[str, float]


def plan_case(case: Tg119Case, *, settings: PlanSettings = SETTINGS) -> CaseRun:
    """Plan a case and judge the dose of the plan.

    Parameters
    ----------
    case : Tg119Case
        See :func:`imrt_core.phantom.tg119.tg119_case`.
    settings : PlanSettings
        Of the planner.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    result = make_plan(
        case.red,
        case.structures,
        load_machine(MACHINE),
        goals=case.goals,
        prescription_gy=case.prescription_gy,
        fractions=case.fractions,
        beams=[BeamDirection(gantry_deg=angle) for angle in case.gantry_deg],
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position="HFS",
        settings=settings,
    )
    figures = tuple(GoalFigure(str(g.goal), float(g.value), g.goal.limit, bool(g.ok)) for g in result.goals)
    return CaseRun(
        name=case.name,
        title=case.title,
        beams=len(case.gantry_deg),
        goals=figures,
        goals_met=sum(figure.met for figure in figures),
        mu=result.mu,
        segments=result.segments,
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
        stage_seconds=dict(result.stage_seconds),
    )


def _answer(runs: list[CaseRun]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "cases": [asdict(run) for run in runs],
        "goals_met": sum(run.goals_met for run in runs),
        "goals_judged": sum(len(run.goals) for run in runs),
    }


def _table(runs: list[CaseRun]) -> Table:
    table = Table("case", "goal", "deliverable", "met", title="TG-119")
    for run in runs:
        for figure in run.goals:
            table.add_row(run.title, figure.goal, f"{figure.value:.1f}", "yes" if figure.met else "no")
        table.add_row("", f"{run.mu:.0f} MU per fraction, {run.seconds:.0f} s ({run.cpu_seconds:.0f} CPU s)", "", "")
    return table


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tg119", description=__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here, after every case")
    options = parser.parse_args()
    progress = Console(stderr=True)
    runs: list[CaseRun] = []
    for name in options.case:
        progress.print(name)
        runs.append(plan_case(tg119_case(name)))
        if options.save:
            options.save.parent.mkdir(parents=True, exist_ok=True)
            options.save.write_text(json.dumps(_answer(runs), indent=1) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(_answer(runs)) + "\n")
    else:
        Console().print(_table(runs))


if __name__ == "__main__":
    main()
