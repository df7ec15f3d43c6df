"""Commands on dose: ``igrt dose``, ``igrt dvh``, ``igrt gamma``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.table import Table

from imrt_core.dicom import read_dose, read_plan, read_structures, write_dose
from imrt_core.dose import dose_grid_for, plan_dose
from imrt_core.evaluate import DVH, dvh, gamma
from imrt_core.machine import load_machine
from imrt_core.patient import (
    DoseDistribution,
    IdentityError,
    InputRefusedError,
    Metric,
    PatientImage,
    Plan,
    Structure,
    StructureError,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import mask_from_structure

from ..images import load_image, load_scalar
from ..stages.dose import density
from ..stages.planning import contoured_external
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
        for b in self.beams:
            table.add_row(
                b.name,
                f"{b.mu:.1f}",
                f"{b.fraction_dose_at_isocentre_gy:.3f}",
                _number(b.beam_dose_gy),
                _number(b.planned_beam_dose_gy),
                f"{b.ssd_mm:.1f}",
                f"{b.radiological_depth_mm:.1f}",
            )
        return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def dose(
    ct: Annotated[Path, typer.Option("--ct", help="Planning CT: DICOM folder, .mha, .nii, .nii.gz or .nrrd.")],
    plan: Annotated[Path, typer.Option("--plan", help="RTPLAN.")],
    machine: Annotated[str, typer.Option("--machine", help="Machine by name, or a machine file (TOML).")],
    out: Annotated[Path, typer.Option("--out", help="RTDOSE to write.")],
    structures: Annotated[Path | None, typer.Option("--structures", help="RTSTRUCT with EXTERNAL, supports.")] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="beamlet (collapsed-cone comes in a later version).")
    ] = "beamlet",
    grid_mm: Annotated[float, typer.Option("--grid-mm", min=1.0, max=10.0, help="Dose grid spacing.")] = 2.5,
    per_fraction: Annotated[bool, typer.Option("--per-fraction", help="One fraction instead of the course.")] = False,
    patient_position: Annotated[str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP.")] = None,
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
    unit = load_machine(machine)
    drawn, notes = _with_external(loaded.image, drawn)
    with console.status("density"):
        red, more = density(loaded.volume, drawn, unit.density_curve(loaded.image.scanner))
    body = mask_from_structure(_external(drawn), loaded.volume.grid)
    grid = dose_grid_for(loaded.volume.grid, body, spacing_mm=grid_mm)
    with console.status(f"{engine} dose of {len(treatment.beams)} beams"):
        result = plan_dose(treatment, red, unit, dose_grid=grid, patient_position=position, engine=engine)
    fractions = treatment.fractions_planned
    fraction_dose = result.fraction_dose_gy
    factor = 1 if per_fraction else fractions
    write_dose(
        DoseDistribution(
            fraction_dose.with_array(fraction_dose.array * factor),
            summation_type="FRACTION_SESSION" if per_fraction else "PLAN",
            frame_of_reference_uid=loaded.image.frame_of_reference_uid,
            plan_uid=treatment.sop_instance_uid,
            comment=f"igrt {engine}, {unit.model.name} {unit.model.version}",
        ),
        image=loaded.image,
        path=out,
        structures_uid=treatment.structure_set_uid,
    )
    inside = body.resampled_to(grid).array >= 0.5
    course = fraction_dose.array * fractions
    warnings = [*result.warnings, *notes, *more]
    for line in warnings:
        console.print(f"[yellow]warning[/]: {line}")
    return DoseAnswer(
        out=out.resolve(),
        scale="fraction" if per_fraction else "course",
        course_max_gy=float(course.max()),
        course_mean_gy=float(course[inside].mean()),
        fractions=fractions,
        engine=engine,
        beam_model=f"{unit.model.name} {unit.model.version}",
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
            )
            for computed, planned in zip(result.beams, treatment.beams, strict=True)
        ],
    )


def _with_external(image: PatientImage, drawn: StructureSet | None) -> tuple[StructureSet, list[str]]:
    """Return the structures with EXTERNAL, contoured by threshold where it is missing, and what to say about it."""
    drawn = drawn or StructureSet((), frame_of_reference_uid=image.frame_of_reference_uid)
    if drawn.external() is not None:
        return drawn, []
    made = contoured_external(image, drawn)
    note = f"{made.name} was not contoured; it was contoured here by threshold"
    return replace(drawn, structures=(*drawn, made)), [note]


def _external(drawn: StructureSet) -> Structure:
    found = drawn.external()
    if found is None:
        raise StructureError("there is no EXTERNAL", found=", ".join(drawn.names), expected="EXTERNAL")
    return found


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


class StructureFigures(Part):
    """One structure of ``igrt dvh``."""

    volume_cc: float
    outside_dose_grid_cc: float
    mean_gy: float
    max_gy: float
    min_gy: float
    D98_gy: float
    D95_gy: float
    D50_gy: float
    D2_gy: float
    metrics: dict[str, float]


class DvhAnswer(Answer):
    """What ``igrt dvh`` prints."""

    dose_scale: str = Field(description="Dose Summation Type of the RTDOSE; PLAN is the whole course.")
    structures: dict[str, StructureFigures]
    skipped: dict[str, str] = Field(description="Structures without figures, and why.")

    def as_text(self) -> RenderableType:
        """Return one row per structure."""
        table = Table(title=f"DVH, dose scale {self.dose_scale}, Gy")
        extra = list(next(iter(self.structures.values())).metrics) if self.structures else []
        for column in ("structure", "cc", "mean", "max", "min", "D98%", "D95%", "D50%", "D2%", *extra):
            table.add_column(column, justify="left" if column == "structure" else "right")
        for name, s in self.structures.items():
            figures = (s.mean_gy, s.max_gy, s.min_gy, s.D98_gy, s.D95_gy, s.D50_gy, s.D2_gy, *s.metrics.values())
            table.add_row(name, f"{s.volume_cc:.2f}", *(f"{v:.2f}" for v in figures))
        for name, reason in self.skipped.items():
            table.add_row(name, reason, style="yellow")
        return table


def dvh_command(
    structures: Annotated[Path, typer.Option("--structures", help="RTSTRUCT.")],
    dose: Annotated[Path, typer.Option("--dose", help="RTDOSE.")],
    ct: Annotated[Path | None, typer.Option("--ct", help="CT, to check that all share one frame.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="e.g. D95%[Gy], V20Gy[%], D0.03cc[Gy].")] = None,
    prescription_gy: Annotated[float | None, typer.Option("--prescription-gy", help="100 % for metrics in %.")] = None,
    as_json: JsonOption = False,
) -> DvhAnswer:
    """Dose-volume histograms and metrics of every structure, absolute volumes."""
    drawn, given = read_structures(structures), read_dose(dose)
    frames = {"RTSTRUCT": drawn.frame_of_reference_uid, "RTDOSE": given.frame_of_reference_uid}
    if ct is not None and (image := load_image(ct).image) is not None:
        frames["CT"] = image.frame_of_reference_uid
    stated = {name: uid for name, uid in frames.items() if uid}
    if len(set(stated.values())) > 1:
        raise IdentityError(
            "the objects are in different frames of reference",
            found=", ".join(f"{name} {uid}" for name, uid in stated.items()),
            expected="one frame",
            code="frame-mismatch",
        )
    wanted = [_metric(text) for text in metric or []]
    figures: dict[str, StructureFigures] = {}
    skipped: dict[str, str] = {}
    for structure in drawn:
        if structure.is_empty:
            skipped[structure.name] = "no contours"
            continue
        try:
            result = dvh(structure, given.dose_gy, prescription_gy=prescription_gy)
        except StructureError as error:
            skipped[structure.name] = str(error)
            continue
        figures[structure.name] = _figures(result, wanted)
    if not figures:
        raise StructureError(
            "no structure has a DVH",
            found="; ".join(f"{n}: {r}" for n, r in skipped.items()) or "no structures",
            expected="contours inside the dose grid",
            where=str(structures),
        )
    for name, reason in skipped.items():
        console.print(f"[yellow]warning[/]: {name}: {reason}")
    return DvhAnswer(dose_scale=given.summation_type, structures=figures, skipped=skipped)


def _metric(text: str) -> Metric:
    """Read a metric; ``D95%`` alone means Gy, ``V20Gy`` alone means percent of the structure."""
    if "[" not in text:
        text += "[%]" if text.startswith("V") and text != "Volume" else "[cc]" if text == "Volume" else "[Gy]"
    return Metric.parse(text)


def _figures(result: DVH, wanted: list[Metric]) -> StructureFigures:
    return StructureFigures(
        volume_cc=result.volume_cc,
        outside_dose_grid_cc=result.outside_cc,
        mean_gy=result.mean_gy,
        max_gy=result.max_gy,
        min_gy=result.min_gy,
        D98_gy=result.metric("D98%[Gy]"),
        D95_gy=result.metric("D95%[Gy]"),
        D50_gy=result.metric("D50%[Gy]"),
        D2_gy=result.metric("D2%[Gy]"),
        metrics={str(m): result.metric(m) for m in wanted},
    )


class GammaAnswer(Answer):
    """What ``igrt gamma`` prints."""

    pass_percent: float
    mean: float
    points: int
    seconds: float


def gamma_command(
    reference: Annotated[Path, typer.Argument(help="RTDOSE, .mha, .nii, .nii.gz or .nrrd in Gy.")],
    evaluated: Annotated[Path, typer.Argument(help="The same, on any grid of the same frame.")],
    dose_percent: Annotated[float, typer.Option("--dose-percent", min=0.1)] = 3.0,
    distance_mm: Annotated[float, typer.Option("--distance-mm", min=0.1)] = 2.0,
    cutoff_percent: Annotated[float, typer.Option("--cutoff-percent", min=0.0, max=100.0)] = 10.0,
    local: Annotated[bool, typer.Option("--local", help="Local instead of global dose criterion.")] = False,
    as_json: JsonOption = False,
) -> GammaAnswer:
    """Compare two doses by the three-dimensional gamma index."""
    started = time.perf_counter()
    first, second = _dose(reference), _dose(evaluated)
    with console.status("gamma"):
        result = gamma(
            first,
            second,
            dose_percent=dose_percent,
            distance_mm=distance_mm,
            cutoff_percent=cutoff_percent,
            local=local,
        )
    return GammaAnswer(
        pass_percent=result.pass_percent,
        mean=result.mean,
        points=result.points,
        seconds=time.perf_counter() - started,
    )


def _dose(path: Path) -> Volume:
    return load_scalar(path).volume


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("dose")(answering(dose))
    app.command("dvh")(answering(dvh_command))
    app.command("gamma")(answering(gamma_command))
