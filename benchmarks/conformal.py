"""3D conformal against intensity-modulated plans.

``python -m benchmarks.conformal NPZ [NPZ …] [--margin-mm 7] [--json] [--save FILE]``

OpenKBP patients, the beams and goals of the shipped head-and-neck protocol, both plans by this software. Planning may
give up to 5 % of the dose for a hard limit; here every figure is for the same coverage, both doses scaled so that D95
of the highest level is its prescription. What is compared: mean dose of the parotids, conformity, goals, MU.

The literature's measure is PARSPORT (Nutting et al., Lancet Oncol 12 (2011) 127, doi:10.1016/S1470-2045(10)70290-4):
mean dose of the contralateral parotid 25.4 Gy with IMRT, 61.0 Gy with conventional (parallel-opposed) radiotherapy.
*Contralateral* here is the parotid with the lower mean in the IMRT plan.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.openkbp import patient_data
from benchmarks.openkbp_data import load
from imrt_core.density import density_of
from imrt_core.evaluate import dvh, judge_goals
from imrt_core.evaluate.plan_complexity import plan_complexity
from imrt_core.evaluate.plan_quality import plan_quality
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import load_machine
from imrt_core.optimize import PlanResult, make_conformal_plan, make_plan
from imrt_core.patient import InputRefusedError, PlanningData
from pipelines.protocol import load_protocol
from pipelines.stages.beams import beams_for
from pipelines.stages.planning import with_derived
from pipelines.structure_names import match_structures, renamed

SCHEMA_VERSION = 1
PAROTIDS = ("Parotid_L", "Parotid_R")
#: PARSPORT, mean dose of the contralateral parotid in Gy.
PARSPORT_GY = {"imrt": 25.4, "conventional": 61.0}


@dataclass(frozen=True)
class Figures:
    """One plan, course scale.

    Parameters
    ----------
    parotid_mean_gy : dict of str to float
        By structure.
    d95_gy, homogeneity_index : dict
        By target.
    conformity_index : dict of str to float
        By isodose.
    hard_goals_missed, goals_met, goals : int
        Of the protocol, on this dose.
    goals_met_as_planned : int
        Before the dose was scaled.
    scale : float
        Factor on the plan's dose and MU for the same coverage.
    mu, mu_per_gy, modulation_complexity_score, treatment_seconds, integral_dose_gy_l, seconds : float
        See ``plan_complexity`` and ``plan_quality``; the last is the planning time.
    """

    parotid_mean_gy: dict[str, float]
    d95_gy: dict[str, float]
    homogeneity_index: dict[str, float | None]
    conformity_index: dict[str, float]
    hard_goals_missed: int
    goals_met: int
    goals: int
    goals_met_as_planned: int
    scale: float
    mu: float
    mu_per_gy: float | None
    segments: int
    modulation_complexity_score: float
    treatment_seconds: float
    integral_dose_gy_l: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """One patient; ``contralateral`` is the parotid that the IMRT plan spares more."""

    patient: str
    contralateral: str
    imrt: Figures
    conformal: Figures


def compare(npz: Path, *, margin_mm: float, machine_name: str) -> Comparison:
    """Plan one patient both ways.

    Raises
    ------
    InputRefusedError
        If the file is no such patient, or no plan can be made.
    """
    patient = load(npz)
    image, drawn = patient_data(patient)
    rules, machine = load_protocol("head-and-neck"), load_machine(machine_name)
    matched = match_structures(rules, drawn)
    structures = with_derived(PlanningData(image, renamed(drawn, matched.roi_names)), rules).data.structures
    isocentre_lps = target_isocentre_lps(structures)
    body = density_of(
        image.hu, structures, machine.density_curve(image.scanner), patient_position="HFS", isocentre_lps=isocentre_lps
    )
    targets = tuple(matched.prescription_gy.items())
    arranged, _ = beams_for(
        rules,
        body.red,
        structures,
        machine,
        goals=matched.goals,
        prescription_gy=targets,
        objectives=None,
        isocentre_lps=isocentre_lps,
        patient_position="HFS",
    )

    highest, highest_gy = max(targets, key=lambda item: item[1])

    def figures(result: PlanResult, seconds: float) -> Figures:
        scale = highest_gy / result.dvhs[highest].metric("D95%[Gy]")
        course = result.course_dose_gy.with_array(scale * result.course_dose_gy.array)
        judged = judge_goals(matched.goals, {name: curve.scaled(scale) for name, curve in result.dvhs.items()})
        quality = plan_quality(course, structures, targets)
        complexity = plan_complexity(result.plan, machine.limits)
        return Figures(
            parotid_mean_gy={name: dvh(structures[name], course).mean_gy for name in PAROTIDS if name in structures},
            d95_gy={t.name: t.d95_gy for t in quality.targets},
            homogeneity_index={t.name: t.homogeneity_index for t in quality.targets},
            conformity_index={f"{level.prescription_gy:g} Gy": level.conformity_index for level in quality.levels},
            hard_goals_missed=sum(goal.goal.hard and not goal.ok for goal in judged),
            goals_met=sum(goal.ok for goal in judged),
            goals=len(judged),
            goals_met_as_planned=sum(goal.ok for goal in result.goals),
            scale=scale,
            mu=scale * result.mu,
            mu_per_gy=None if complexity.mu_per_gy is None else scale * complexity.mu_per_gy,
            segments=result.segments,
            modulation_complexity_score=complexity.modulation_complexity_score,
            treatment_seconds=complexity.treatment_seconds,
            integral_dose_gy_l=quality.integral_dose_gy_l,
            seconds=seconds,
        )

    started = time.perf_counter()
    conformal = make_conformal_plan(
        body.red,
        structures,
        machine,
        goals=matched.goals,
        prescription_gy=targets,
        fractions=rules.fractions,
        beams=arranged.beams,
        isocentre_lps=isocentre_lps,
        patient_position="HFS",
        margin_mm=margin_mm,
    )
    halfway = time.perf_counter()
    imrt = make_plan(
        body.red,
        structures,
        machine,
        goals=matched.goals,
        prescription_gy=targets,
        fractions=rules.fractions,
        beams=arranged.beams,
        isocentre_lps=isocentre_lps,
        patient_position="HFS",
    )
    modulated = figures(imrt, time.perf_counter() - halfway)
    means = modulated.parotid_mean_gy
    if not means:
        raise InputRefusedError(
            "no parotid to compare", found=", ".join(structures.names), expected=", ".join(PAROTIDS)
        )
    return Comparison(
        patient.name, min(means, key=lambda name: means[name]), modulated, figures(conformal, halfway - started)
    )


def as_table(comparisons: Sequence[Comparison]) -> Table:
    """Return one line per patient: 3D conformal / IMRT."""
    table = Table(title="3D conformal / IMRT")
    for column in (
        "patient",
        "contralateral parotid mean Gy",
        "other parotid mean Gy",
        "D95 of targets Gy",
        "conformity, highest level",
        "MU",
        "MCS",
        "goals met",
    ):
        table.add_column(column)
    for c in comparisons:
        pair = (c.conformal, c.imrt)
        others = [name for name in c.imrt.parotid_mean_gy if name != c.contralateral]
        table.add_row(
            c.patient,
            " / ".join(f"{p.parotid_mean_gy[c.contralateral]:.1f}" for p in pair),
            " / ".join(f"{p.parotid_mean_gy[others[0]]:.1f}" for p in pair) if others else "–",
            "; ".join(f"{name} " + " / ".join(f"{p.d95_gy[name]:.1f}" for p in pair) for name in c.imrt.d95_gy),
            " / ".join(f"{next(iter(p.conformity_index.values())):.2f}" for p in pair),
            " / ".join(f"{p.mu:.0f}" for p in pair),
            " / ".join(f"{p.modulation_complexity_score:.2f}" for p in pair),
            " / ".join(f"{p.goals_met}" for p in pair) + f" of {c.imrt.goals}",
        )
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 0 done, 3 input refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformal", description=__doc__)
    parser.add_argument("npz", type=Path, nargs="+", help="OpenKBP patients")
    parser.add_argument("--margin-mm", type=float, default=7.0, help="around the projected targets (default 7)")
    parser.add_argument("--machine", default="generic_6mv")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="write the JSON object here")
    options = parser.parse_args(arguments)
    comparisons = []
    try:
        for npz in options.npz:
            comparisons.append(compare(npz, margin_mm=options.margin_mm, machine_name=options.machine))
            if not options.json:
                Console(stderr=True).print(f"{npz.stem} planned twice")
    except InputRefusedError as error:
        if options.json:
            sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
        Console(stderr=True).print(f"refused: {error}", style="red", markup=False)
        return 3
    answer = {
        "schema_version": SCHEMA_VERSION,
        "margin_mm": options.margin_mm,
        "machine": options.machine,
        "parsport_contralateral_mean_gy": PARSPORT_GY,
        "patients": [asdict(c) for c in comparisons],
    }
    if options.save:
        options.save.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        Console(width=200).print(as_table(comparisons))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
