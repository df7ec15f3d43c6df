"""``igrt plan``: an optimised, sequenced plan from a CT and its structures."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from imrt_core.dicom import read_plan, read_structures, uid_from, write_dose, write_plan, write_structures
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import load_machine
from imrt_core.optimize import PlanProgress, make_plan
from imrt_core.patient import DoseDistribution, IdentityError, InputRefusedError, PlanningData

from ..files import sha256_of_file, write_text
from ..images import load_image
from ..protocol import load_protocol, with_beams
from ..stages.beams import beams_for
from ..stages.dose import density
from ..stages.export import commented
from ..stages.mu_check import mu_check_of
from ..stages.planning import planning_position, with_derived
from ..stages.plans import LABEL_OF_RECORD, objectives_of
from ..structure_names import match_structures, renamed, without
from .answers import GoalAnswer, number, status_text
from .mu_check import MuCheckPart, plan_part, plan_text
from .output import Answer, ForceOption, JsonOption, answering, refuse_existing
from .progress import stages_shown

PLAN_FILE, DOSE_FILE, JSON_FILE = "rtplan.dcm", "rtdose.dcm", "plan.json"
#: Written where structures were made here.
STRUCTURES_FILE = "rtstruct.dcm"


class PlannedBeam(BaseModel):
    """Direction of a beam, IEC 61217 degrees."""

    gantry_deg: float
    collimator_deg: float
    table_deg: float


class PlanAnswer(Answer):
    """What ``igrt plan`` prints, and writes as ``plan.json``."""

    out: str
    plan_uid: str
    goals: tuple[GoalAnswer, ...]
    not_applicable: tuple[str, ...]
    feasible: bool
    objective: float
    iterations: int
    kkt_residual: float
    mu: float
    segments: int
    delivery_seconds: float
    mu_check: MuCheckPart | None
    beams: tuple[PlannedBeam, ...]
    lost_gantry_deg: dict[str, int]
    structures_made: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    stage_seconds: dict[str, float]

    def must_look(self) -> bool:
        """Whether a hard goal is not met, or the independent MU check differs."""
        return not self.feasible or (self.mu_check is not None and self.mu_check.passed is False)

    def as_text(self) -> RenderableType:
        """Return the goals, with the plan's figures below."""
        goals = Table("goal", "value", "status", title=f"plan in {self.out}")
        for goal in self.goals:
            goals.add_row(goal.goal, number(goal.value), status_text(goal.status))
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stage_seconds.items())
        lines = [
            f"{self.mu:.0f} MU per fraction in {self.segments} segments, {self.delivery_seconds:.0f} s to deliver",
            f"objective {self.objective:.4g} after {self.iterations} iterations; {self.seconds:.0f} s ({stages})",
            f"independent MU check {plan_text(self.mu_check)}",
            "gantry "
            + ", ".join(f"{b.gantry_deg:g}°" + (f"/T{b.table_deg:g}°" if b.table_deg else "") for b in self.beams),
            *self.not_applicable,
            *(f"warning: {text}" for text in self.warnings),
        ]
        return Group(goals, *map(Text, lines))


def plan(
    ct: Annotated[Path, typer.Option("--ct", help="Planning CT: DICOM folder.")],
    structures: Annotated[Path, typer.Option("--structures", help="RTSTRUCT.")],
    protocol: Annotated[str, typer.Option("--protocol", help="Name of a shipped protocol, or a YAML file.")],
    machine: Annotated[str, typer.Option("--machine", help="Name of a shipped machine, or a TOML file.")],
    out: Annotated[Path, typer.Option("--out", help=f"Folder for {PLAN_FILE}, {DOSE_FILE}, {JSON_FILE}.")],
    warm_start: Annotated[Path | None, typer.Option("--warm-start", help="RTPLAN to start from.")] = None,
    beams: Annotated[
        int | None, typer.Option("--beams", min=1, max=18, help="So many equidistant beams in place of the protocol's.")
    ] = None,
    select_angles: Annotated[
        bool, typer.Option("--select-angles", help="Choose the gantry angles of --beams beams for this patient.")
    ] = False,
    patient_position: Annotated[str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> PlanAnswer:
    """Make a deliverable IMRT plan."""
    started = time.perf_counter()
    refuse_existing(out, force=force)
    rules, unit = with_beams(load_protocol(protocol), beams, select=select_angles), load_machine(machine)
    image = load_image(ct, patient_position=patient_position).image
    if image is None:
        raise InputRefusedError(
            "an RTPLAN needs the patient of a DICOM CT", found=str(ct), expected="a DICOM folder", where="--ct"
        )
    drawn = read_structures(structures)
    if drawn.frame_of_reference_uid != image.frame_of_reference_uid:
        raise IdentityError(
            "the RTSTRUCT is not in the CT's frame of reference",
            found=drawn.frame_of_reference_uid,
            expected=image.frame_of_reference_uid,
            where=str(structures),
            code="frame-mismatch",
        )
    matched = match_structures(rules, drawn)
    planning = with_derived(PlanningData(image, renamed(drawn, matched.roi_names)), rules)
    data, matched = planning.data, without(matched, rules, planning.empty)
    position = planning_position(data, option=patient_position)
    if position is None:
        raise IdentityError(
            "the patient position is unknown, so beams have no direction",
            found="none in the CT",
            expected="--patient-position HFS, HFP, FFS or FFP",
            where=str(ct),
            code="position-unknown",
        )
    warm = read_plan(warm_start) if warm_start else None
    with stages_shown("plan") as on_stage:
        on_stage("density")
        isocentre_lps = target_isocentre_lps(data.structures)
        red, notes = density(
            image.hu,
            data.structures,
            unit.density_curve(image.scanner),
            couch=unit.couch,
            patient_position=position,
            isocentre_lps=isocentre_lps,
        )
        prescription = tuple(matched.prescription_gy.items())
        objectives = objectives_of(rules, data.structures)
        on_stage("beams")
        arranged, avoidance = beams_for(
            rules,
            red,
            data.structures,
            unit,
            goals=matched.goals,
            prescription_gy=prescription,
            objectives=objectives,
            isocentre_lps=isocentre_lps,
            patient_position=position,
            progress=lambda state: on_stage(f"beam angles, try {state.tries}, {state.objective:.4g}"),
        )
        result = make_plan(
            red,
            data.structures,
            unit,
            goals=matched.goals,
            prescription_gy=prescription,
            fractions=rules.fractions,
            beams=arranged.beams,
            avoidance=avoidance,
            isocentre_lps=isocentre_lps,
            patient_position=position,
            objectives=objectives,
            label=LABEL_OF_RECORD,
            plan_uid=uid_from(image.series_uid, sha256_of_file(structures), rules.name, unit.name, "igrt plan"),
            warm_start=warm,
            progress=lambda progress: on_stage(_words(progress)),
        )
        on_stage("independent MU check")
        check = mu_check_of(
            result.plan,
            red,
            (unit,),
            fraction_dose_gy=result.fraction_dose_gy,
            computed=result.beams,
            patient_position=position,
        )
    structures_uid = drawn.sop_instance_uid
    if made_here := planning.derived:
        # a prescription that names a structure made here must refer to a set that holds it
        uid = uid_from(structures_uid, rules.name, rules.version, "igrt plan structures", *made_here)
        write_structures(replace(data.structures, sop_instance_uid=uid), image=image, path=out / STRUCTURES_FILE)
        structures_uid = uid if set(made_here) & set(matched.prescription_gy) else structures_uid
    made = replace(
        result.plan,
        structure_set_uid=structures_uid,
        frame_of_reference_uid=image.frame_of_reference_uid,
        predecessor_uid=warm.sop_instance_uid if warm else "",
    )
    write_plan(made, image=image, path=out / PLAN_FILE)
    write_dose(
        DoseDistribution(
            result.course_dose_gy,
            frame_of_reference_uid=image.frame_of_reference_uid,
            plan_uid=made.sop_instance_uid,
            comment=commented(f"igrt {unit.model.name} {unit.model.version}", validated=unit.model.validated),
        ),
        image=image,
        path=out / DOSE_FILE,
        structures_uid=structures_uid,
    )
    answer = PlanAnswer(
        out=str(out.resolve()),
        plan_uid=made.sop_instance_uid,
        goals=tuple(
            GoalAnswer(
                goal=str(judged.goal),
                value=judged.value,
                low=judged.low,
                high=judged.high,
                limit=judged.goal.limit,
                status=judged.status.value,
                ok=judged.ok,
            )
            for judged in result.goals
        ),
        not_applicable=matched.not_applicable,
        feasible=result.feasible,
        objective=result.objective,
        iterations=result.iterations,
        kkt_residual=result.kkt_residual,
        mu=result.mu,
        segments=result.segments,
        delivery_seconds=result.delivery_seconds,
        mu_check=plan_part(check),
        beams=tuple(
            PlannedBeam(gantry_deg=b.gantry_deg, collimator_deg=b.collimator_deg, table_deg=b.table_deg)
            for b in arranged.beams
        ),
        lost_gantry_deg=arranged.lost_deg,
        structures_made=planning.derived,
        warnings=(
            *planning.notes,
            *arranged.notes,
            *notes,
            *result.warnings,
            *(f"independent MU check: {line}" for line in check.differing),
        ),
        seconds=time.perf_counter() - started,
        stage_seconds=result.stage_seconds,
    )
    write_text(out / JSON_FILE, answer.model_dump_json(indent=1) + "\n")
    return answer


def _words(progress: PlanProgress) -> str:
    if not progress.iteration:
        return progress.stage
    return f"{progress.stage}, round {progress.round}, iteration {progress.iteration}, {progress.objective:.4g}"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(answering(plan))
