"""Chosen gantry angles against equidistant ones: the same planner, goals and grids for both.

``python -m benchmarks.beam_angles [NPZ …] [--phantom SITE …] [--beams N] [--json] [--save FILE]``

For OpenKBP patients and digital phantoms: the objective of the coarse search, and what the two deliverable plans
(sequenced, collapsed-cone dose, normalised) meet of the protocol's goals.

Data: Babier A et al., "OpenKBP: the open-access knowledge-based planning grand challenge and dataset", Med Phys 48
(2021) 5549-5561.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.openkbp import convert
from imrt_core.density import density_of
from imrt_core.dicom import read_course
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import load_machine
from imrt_core.optimize import (
    BeamAvoidance,
    BeamObstacles,
    EquidistantBeams,
    PlanResult,
    PlanSettings,
    make_plan,
    select_angles,
)
from imrt_core.patient import PlanningData
from imrt_core.phantom import build_patient
from pipelines.protocol import load_protocol
from pipelines.stages.planning import with_derived
from pipelines.structure_names import match_structures, renamed, without

SCHEMA_VERSION = 1
_SITE_OF_OPENKBP = "head-and-neck"


@dataclass(frozen=True)
class Outcome:
    """A deliverable plan: its angles, its fluence objective, goals met, and what each goal's value is."""

    gantry_deg: tuple[float, ...]
    coarse_objective: float
    fluence_objective: float
    goals_met: int
    hard_goals_met: bool
    mu: float
    values: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """One patient."""

    patient: str
    beams: int
    goals: int
    equidistant: Outcome
    chosen: Outcome
    tries: int
    search_seconds: float


def compare(name: str, data: PlanningData, site: str, *, beams: int) -> Comparison:
    """Plan one patient twice."""
    protocol, machine = load_protocol(site), load_machine("generic_6mv")
    matched = match_structures(protocol, data.structures)
    planning = with_derived(PlanningData(data.ct, renamed(data.structures, matched.roi_names)), protocol)
    matched = without(matched, protocol, planning.empty)
    structures, position = planning.data.structures, data.ct.patient_position or "HFS"
    red = density_of(data.ct.hu, structures, machine.density_curve(data.ct.scanner), patient_position=position).red
    prescription = tuple(matched.prescription_gy.items())
    isocentre_lps = target_isocentre_lps(structures)
    start = EquidistantBeams(count=beams)
    found = select_angles(
        red,
        structures,
        machine,
        goals=matched.goals,
        prescription_gy=prescription,
        fractions=protocol.fractions,
        start=start,
        obstacles=BeamObstacles(
            machine, BeamAvoidance(), structures, list(matched.prescription_gy), isocentre_lps, position
        ),
        progress=lambda p: print(f"{name}: {p.tries} tries, {p.objective:.5g}", file=sys.stderr),
    )

    def planned(directions: tuple[object, ...], coarse: float) -> Outcome:
        result: PlanResult = make_plan(
            red,
            structures,
            machine,
            goals=matched.goals,
            prescription_gy=prescription,
            fractions=protocol.fractions,
            beams=directions,  # type: ignore[arg-type]
            isocentre_lps=isocentre_lps,
            patient_position=position,
            settings=PlanSettings(),
        )
        return Outcome(
            gantry_deg=tuple(b.gantry_deg for b in directions),  # type: ignore[attr-defined]
            coarse_objective=coarse,
            fluence_objective=result.objective,
            goals_met=sum(g.ok for g in result.goals),
            hard_goals_met=result.feasible,
            mu=result.mu,
            values={str(g.goal): round(g.value, 2) for g in result.goals},
        )

    return Comparison(
        patient=name,
        beams=beams,
        goals=len(matched.goals),
        equidistant=planned(found.equidistant, found.equidistant_objective),
        chosen=planned(found.beams, found.objective),
        tries=found.tries,
        search_seconds=found.seconds,
    )


def main() -> None:
    """Compare every patient that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beam_angles", description=__doc__)
    parser.add_argument("npz", nargs="*", type=Path, help="OpenKBP patients")
    parser.add_argument("--phantom", action="append", default=[], choices=["lung", "pelvis"])
    parser.add_argument("--beams", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    found: list[Comparison] = []
    for site in options.phantom:
        found.append(compare(f"{site} phantom", build_patient(site).planning, site, beams=options.beams))
    for npz in options.npz:
        with tempfile.TemporaryDirectory() as folder:
            data = read_course(convert(npz, Path(folder) / "course", fractions=1).plan_dir)
            found.append(compare(npz.stem, data, _SITE_OF_OPENKBP, beams=options.beams))
    answer = {
        "schema_version": SCHEMA_VERSION,
        "comparisons": [asdict(one) for one in found],
        "seconds": time.perf_counter() - started,
    }
    if options.save:
        options.save.write_text(json.dumps(answer, indent=1) + "\n")
    if options.json:
        print(json.dumps(answer))
        return
    table = Table("patient", "arrangement", "gantry", "coarse objective", "goals met", "hard goals", "MU")
    for one in found:
        for label, plan in (("equidistant", one.equidistant), ("chosen", one.chosen)):
            angles = ", ".join(f"{g:.0f}" for g in plan.gantry_deg)
            met = f"{plan.goals_met}/{one.goals}"
            hard = "met" if plan.hard_goals_met else "violated"
            table.add_row(one.patient, label, angles, f"{plan.coarse_objective:.4g}", met, hard, f"{plan.mu:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
