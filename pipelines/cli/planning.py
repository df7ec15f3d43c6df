"""``igrt plan``: a deliverable plan from a CT and its structures."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from imrt_core.density import density_of
from imrt_core.dicom import read_plan, read_structures, uid_from, write_dose, write_plan, write_structures
from imrt_core.evaluate.plan_complexity import plan_complexity
from imrt_core.evaluate.plan_quality import plan_quality
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import load_machine
from imrt_core.optimize import PlanSettings, Technique, make_conformal_plan, make_plan
from imrt_core.patient import DoseDistribution, IdentityError, InputRefusedError, PlanningData

from ..files import sha256_of_file, write_text
from ..images import load_image
from ..planning_progress import words_of
from ..protocol import load_protocol, with_beams
from ..stages.beams import beams_for
from ..stages.export import commented
from ..stages.mu_check import mu_check_of
from ..stages.planning import planning_position, with_derived
from ..stages.plans import LABEL_OF_RECORD, objectives_of
from ..structure_names import match_structures, renamed, without
from .answers import GoalAnswer
from .mu_check import plan_part
from .output import ForceOption, JsonOption, answering, refuse_existing
from .plan_answer import PlanAnswer, PlannedBeam, PlanTechnique
from .progress import stages_shown

PLAN_FILE, DOSE_FILE, JSON_FILE = "rtplan.dcm", "rtdose.dcm", "plan.json"
#: Written where structures were made here.
STRUCTURES_FILE = "rtstruct.dcm"


def plan(
    ct: Annotated[Path, typer.Option("--ct", help="Planning CT: DICOM folder.")],
    structures: Annotated[Path, typer.Option("--structures", help="RTSTRUCT.")],
    protocol: Annotated[str, typer.Option("--protocol", help="Name of a shipped protocol, or a YAML file.")],
    machine: Annotated[str, typer.Option("--machine", help="Name of a shipped machine, or a TOML file.")],
    out: Annotated[Path, typer.Option("--out", help=f"Folder for {PLAN_FILE}, {DOSE_FILE}, {JSON_FILE}.")],
    warm_start: Annotated[Path | None, typer.Option("--warm-start", help="RTPLAN to start from.")] = None,
    technique: Annotated[
        PlanTechnique, typer.Option("--technique", help="IMRT as sliding window or step and shoot, or 3D conformal.")
    ] = PlanTechnique.SLIDING_WINDOW,
    margin_mm: Annotated[
        float, typer.Option("--margin-mm", min=0.0, help="3d-crt: margin around the projected targets.")
    ] = 7.0,
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
    """Make a deliverable plan: IMRT, or 3D conformal to compare with."""
    started = time.perf_counter()
    conformal = technique is PlanTechnique.CONFORMAL
    if conformal and warm_start is not None:
        raise typer.BadParameter("a conformal plan has no fluence to start from", param_hint="--warm-start")
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
        patient = density_of(
            image.hu,
            data.structures,
            unit.density_curve(image.scanner),
            couch=unit.couch,
            patient_position=position,
            isocentre_lps=isocentre_lps,
        )
        red, notes = patient.red, patient.warnings
        targets = tuple(matched.prescription_gy.items())
        objectives = objectives_of(rules, data.structures)
        on_stage("beams")
        arranged, avoidance = beams_for(
            rules,
            red,
            data.structures,
            unit,
            goals=matched.goals,
            prescription_gy=targets,
            objectives=objectives,
            isocentre_lps=isocentre_lps,
            patient_position=position,
            progress=lambda state: on_stage(f"beam angles, try {state.tries}, {state.objective:.4g}"),
        )
        uid_key: tuple[str, ...] = (image.series_uid, sha256_of_file(structures), rules.name, unit.name, "igrt plan")
        if technique is not PlanTechnique.SLIDING_WINDOW:
            uid_key = (*uid_key, technique.value)
        if beams is not None:
            uid_key = (*uid_key, f"{beams} beams", "selected" if select_angles else "equidistant")
        if conformal:
            result = make_conformal_plan(
                red,
                data.structures,
                unit,
                goals=matched.goals,
                prescription_gy=targets,
                fractions=rules.fractions,
                beams=arranged.beams,
                isocentre_lps=isocentre_lps,
                patient_position=position,
                margin_mm=margin_mm,
                label=LABEL_OF_RECORD,
                plan_uid=uid_from(*uid_key, f"{margin_mm:g} mm"),
                progress=lambda progress: on_stage(words_of(progress)),
            )
        else:
            result = make_plan(
                red,
                data.structures,
                unit,
                goals=matched.goals,
                prescription_gy=targets,
                fractions=rules.fractions,
                beams=arranged.beams,
                avoidance=avoidance,
                isocentre_lps=isocentre_lps,
                patient_position=position,
                objectives=objectives,
                settings=PlanSettings(technique=Technique(technique.value)),
                label=LABEL_OF_RECORD,
                plan_uid=uid_from(*uid_key),
                warm_start=warm,
                progress=lambda progress: on_stage(words_of(progress)),
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
        on_stage("plan figures")
        quality = plan_quality(result.course_dose_gy, data.structures, targets, mass_density=patient.mass)
        complexity = plan_complexity(result.plan, unit.limits)
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
        technique=technique,
        quality=quality,
        complexity=complexity,
        mu_check=plan_part(check),
        conflicts=tuple(map(str, result.conflicts)),
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


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(answering(plan))
