"""``igrt dose``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field
from rich.console import Group, RenderableType
from rich.table import Table

from imrt_core.density import METALS, density_of
from imrt_core.dicom import read_plan, read_structures, write_dose
from imrt_core.dose import dose_grid_for, mixed_plan_dose
from imrt_core.machine import load_machine
from imrt_core.patient import (
    DoseDistribution,
    IdentityError,
    InputRefusedError,
    Plan,
    StructureSet,
)
from imrt_core.patient.contours import mask_from_structure

from ..images import load_image
from ..stages.dose import metal_flags
from ..stages.export import commented
from ..stages.mu_check import mu_check_of
from .mu_check import MuCheckBeam, beam_part, beam_text, reason_lines
from .output import Answer, ForceOption, JsonOption, Part, answering, console, refuse_existing


class BeamFigures(Part):
    """One beam of ``igrt dose``; doses per fraction."""

    name: str
    mu: float
    fraction_dose_at_isocentre_gy: float
    beam_dose_gy: float | None = Field(description="At the Beam Dose Specification Point, to compare with BeamDose.")
    planned_beam_dose_gy: float | None = Field(description="BeamDose in the RTPLAN.")
    ssd_mm: float
    radiological_depth_mm: float
    mu_check: MuCheckBeam = Field(description="Independent check of the meterset.")


class DoseAnswer(Answer):
    """What ``igrt dose`` prints."""

    out: Path
    scale: Literal["course", "fraction"]
    course_max_gy: float
    course_mean_gy: float = Field(description="Over the voxels of EXTERNAL, or of the dose grid without one.")
    fractions: int
    engine: str
    beam_model: str
    grid_mm: float
    seconds: float
    warnings: list[str]
    beams: list[BeamFigures]

    def as_text(self) -> RenderableType:
        """Return the beams as a table with the plan's figures in its title and caption."""
        table = Table(
            title=f"{self.engine} dose, {self.beam_model}, {self.grid_mm:g} mm grid: "
            f"maximum {self.course_max_gy:.2f} Gy, mean {self.course_mean_gy:.2f} Gy in {self.fractions} fractions",
            caption=f"{self.scale} dose written to {self.out} in {self.seconds:.1f} s",
        )
        for column in ("beam", "MU", "isocentre Gy/fx", "point Gy/fx", "RTPLAN BeamDose Gy", "SSD mm", "depth mm"):
            table.add_column(column, justify="left" if column == "beam" else "right")
        table.add_column("MU check %", justify="right")
        for b in self.beams:
            table.add_row(
                b.name,
                f"{b.mu:.1f}",
                f"{b.fraction_dose_at_isocentre_gy:.3f}",
                _number(b.beam_dose_gy),
                _number(b.planned_beam_dose_gy),
                f"{b.ssd_mm:.1f}",
                f"{b.radiological_depth_mm:.1f}",
                beam_text(b.mu_check),
            )
        return Group(table, *reason_lines(tuple(b.mu_check for b in self.beams)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def dose(
    ct: Annotated[Path, typer.Option("--ct", help="Planning CT: DICOM folder, .mha, .nii, .nii.gz or .nrrd.")],
    plan: Annotated[Path, typer.Option("--plan", help="RTPLAN.")],
    machine: Annotated[
        list[str],
        typer.Option("--machine", help="Machine by name, or a machine file (TOML); again for each further energy."),
    ],
    out: Annotated[Path, typer.Option("--out", help="RTDOSE to write.")],
    structures: Annotated[Path | None, typer.Option("--structures", help="RTSTRUCT with EXTERNAL, supports.")] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="collapsed-cone, or beamlet (pencil kernels).")
    ] = "collapsed-cone",
    grid_mm: Annotated[float, typer.Option("--grid-mm", min=1.0, max=10.0, help="Dose grid spacing.")] = 2.5,
    per_fraction: Annotated[bool, typer.Option("--per-fraction", help="One fraction instead of the course.")] = False,
    patient_position: Annotated[str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP.")] = None,
    metal: Annotated[str | None, typer.Option("--metal", help=f"Metal in the patient: {', '.join(METALS)}.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> DoseAnswer:
    """Compute the dose of an RTPLAN on a CT."""
    started = time.perf_counter()
    refuse_existing(out, force=force)
    loaded = load_image(ct, patient_position=patient_position)
    treatment = read_plan(plan)
    drawn = read_structures(structures) if structures else None
    if loaded.image is None:
        raise InputRefusedError(
            "an RTDOSE needs the patient of a DICOM CT", found=str(ct), expected="a DICOM folder", where="--ct"
        )
    _check_frames(loaded.image.frame_of_reference_uid, treatment, drawn)
    position = patient_position or loaded.image.patient_position or treatment.patient_position
    if position is None:
        raise IdentityError(
            "the patient position is unknown, so beams have no direction",
            found="none in the CT or the RTPLAN",
            expected="--patient-position HFS, HFP, FFS or FFP",
            where=str(ct),
            code="position-unknown",
        )
    machines = [load_machine(name) for name in machine]
    unit = machines[0]  # density curve and couch are of the scanner and the table, not of an energy
    with console.status("density"):
        patient = density_of(
            loaded.volume,
            drawn or StructureSet((), frame_of_reference_uid=loaded.image.frame_of_reference_uid),
            unit.density_curve(loaded.image.scanner),
            couch=unit.couch,
            patient_position=position,
            isocentre_lps=treatment.isocentre_lps,
            metal=metal,
        )
    body = mask_from_structure(patient.external, loaded.volume.grid)
    grid = dose_grid_for(loaded.volume.grid, body, spacing_mm=grid_mm)
    with console.status(f"{engine} dose of {len(treatment.beams)} beams"):
        result = mixed_plan_dose(
            treatment,
            patient.red,
            machines,
            dose_grid=grid,
            patient_position=position,
            engine=engine,
            keep_beams=True,
        )
    fractions = treatment.fractions_planned
    fraction_dose = result.fraction_dose_gy
    factor = 1 if per_fraction else fractions
    write_dose(
        DoseDistribution(
            fraction_dose.with_array(fraction_dose.array * factor),
            summation_type="FRACTION_SESSION" if per_fraction else "PLAN",
            frame_of_reference_uid=loaded.image.frame_of_reference_uid,
            plan_uid=treatment.sop_instance_uid,
            comment=commented(f"igrt {engine}, {result.model}", validated=all(m.model.validated for m in machines)),
        ),
        image=loaded.image,
        path=out,
        structures_uid=treatment.structure_set_uid,
    )
    with console.status("independent MU check"):
        check = mu_check_of(
            treatment,
            patient.red,
            machines,
            fraction_dose_gy=fraction_dose,
            computed=result.beams,
            patient_position=position,
        )
    inside = body.resampled_to(grid).array >= 0.5
    course = fraction_dose.array * fractions
    warnings = [*result.warnings, *patient.warnings, *metal_flags(patient, treatment, position)]
    warnings += [f"independent MU check: {line}" for line in check.differing]
    for line in warnings:
        console.print(f"[yellow]warning[/]: {line}")
    return DoseAnswer(
        out=out.resolve(),
        scale="fraction" if per_fraction else "course",
        course_max_gy=float(course.max()),
        course_mean_gy=float(course[inside].mean()),
        fractions=fractions,
        engine=engine,
        beam_model=result.model,
        grid_mm=grid_mm,
        seconds=time.perf_counter() - started,
        warnings=warnings,
        beams=[
            BeamFigures(
                name=computed.name,
                mu=computed.mu,
                fraction_dose_at_isocentre_gy=computed.dose_at_isocentre_gy,
                beam_dose_gy=computed.dose_at_point_gy,
                planned_beam_dose_gy=planned.beam_dose_gy,
                ssd_mm=computed.ssd_mm,
                radiological_depth_mm=computed.radiological_depth_mm,
                mu_check=beam_part(checked),
            )
            for computed, planned, checked in zip(result.beams, treatment.beams, check.beams, strict=True)
        ],
    )


def _check_frames(frame_uid: str, treatment: Plan, drawn: StructureSet | None) -> None:
    for name, uid in (
        ("RTPLAN", treatment.frame_of_reference_uid),
        ("RTSTRUCT", drawn.frame_of_reference_uid if drawn else ""),
    ):
        if uid and frame_uid and uid != frame_uid:
            raise IdentityError(
                f"the {name} is not in the CT's frame of reference",
                found=uid,
                expected=frame_uid,
                code="frame-mismatch",
            )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dose")(answering(dose))
