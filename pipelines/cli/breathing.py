"""``igrt motion``: what breathing does to a target in a 4DCT, and where it is in a 4D-CBCT of the day."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import Field
from rich.console import RenderableType
from rich.progress import Progress
from rich.table import Table

from imrt_core.dicom import BreathingPhases, read_phases, read_structures, write_image, write_structures
from imrt_core.dicom.series import find_series
from imrt_core.patient import InputRefusedError, PatientImage, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure, structure_volume_cc
from registration import (
    BreathingMatch,
    RespiratoryMotion,
    internal_target_volume,
    match_breathing,
    respiratory_motion,
    warp_structures,
)

from ..images import is_image_file, load_image
from ..motion_figure import write_motion_figure
from .output import Answer, ForceOption, JsonOption, Part, answering, console, refuse_existing

Triple = tuple[float, float, float]


class PhaseFigures(Part):
    """One phase."""

    percent: float = Field(description="place in the cycle, 0 = end of inspiration")
    label: str
    passed: bool = Field(description="whether its match holds its limits; true for the reference")
    reasons: tuple[str, ...]


class TargetMotionFigures(Part):
    """One target over the cycle; along LPS of the 4DCT."""

    name: str
    displacement_mm: tuple[Triple, ...] = Field(description="of every phase against the reference phase")
    mean_mm: Triple
    amplitude_mm: Triple = Field(description="peak to peak: left-right, anterior-posterior, superior-inferior")
    largest_mm: float = Field(description="largest distance between two phases")
    volume_cc: float
    itv_cc: float = Field(description="of all its places together")


class DayFigures(Part):
    """The day's phases against the 4DCT, along LPS of the planning CT."""

    target: str
    phases: int
    shift_mm: tuple[Triple | None, ...] = Field(description="target beyond the bones; null where not found")
    amplitude_mm: Triple | None
    baseline_shift_mm: Triple | None = Field(description="mean position today minus planned mean")
    bones_translation_mm: Triple = Field(description="of centre_lps, moving from fixed")
    bones_rotation_deg: Triple
    centre_lps: Triple
    passed: bool
    reasons: tuple[str, ...]


class MotionAnswer(Answer):
    """What ``igrt motion`` prints."""

    reference_percent: float
    mid_ventilation_percent: float
    by_amplitude: bool
    passed_over: tuple[str, ...]
    phases: tuple[PhaseFigures, ...]
    targets: tuple[TargetMotionFigures, ...]
    day: DayFigures | None
    passed: bool
    seconds: float
    outputs: dict[str, Path]

    def must_look(self) -> bool:
        """Whether a match failed."""
        return not self.passed

    def as_text(self) -> RenderableType:
        """Return a table of the targets."""
        table = Table(title="Motion by breathing", caption=self._caption(), caption_justify="left")
        for heading in ("target", "L-R", "A-P", "S-I", "largest (mm)", "volume (cc)", "ITV (cc)"):
            table.add_column(heading, justify="left" if heading == "target" else "right")
        for target in self.targets:
            numbers = (*target.amplitude_mm, target.largest_mm, target.volume_cc, target.itv_cc)
            table.add_row(target.name, *(f"{value:.1f}" for value in numbers))
        return table

    def _caption(self) -> str:
        lines = [
            f"{len(self.phases)} phases, peak to peak in mm; drawn on {self.reference_percent:g} %, "
            f"mid-ventilation {self.mid_ventilation_percent:g} %; {self.seconds:.0f} s"
        ]
        if self.by_amplitude:
            lines.append("Bins of amplitude: every one counts alike in the mean, whatever time it takes.")
        lines += [f"passed over: {name}" for name in self.passed_over]
        lines += [f"phase {p.percent:g} %: {reason}" for p in self.phases for reason in p.reasons]
        if self.day is not None:
            lines.append(_day_text(self.day))
        lines += [f"{name}: {path}" for name, path in self.outputs.items()]
        return "\n".join(lines)


def motion(
    scans: Annotated[Path, typer.Argument(metavar="4DCT", help="Folder with one CT series per phase.")],
    structures: Annotated[Path, typer.Option("--structures", help="RTSTRUCT drawn on one of the phases.")],
    target: Annotated[list[str], typer.Option("--target", help="Structure to follow; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for ITV, mid-ventilation and mean CT, and the figure.")],
    day: Annotated[
        Path | None,
        typer.Option(
            "--day", help="4D-CBCT of the day (folder), or one free-breathing CBCT (DICOM, .mha, .nii, .nii.gz, .nrrd)."
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> MotionAnswer:
    """Follow targets through a 4DCT: amplitude, ITV, mid-ventilation phase; match a 4D-CBCT of the day to it."""
    started = time.perf_counter()
    refuse_existing(out, force=force)
    phases = read_phases(scans)
    drawn = read_structures(structures)
    # all that can be refused is read before minutes of matching
    images_of_day = None if day is None else _images_of_day(day)
    reference = _reference(phases, drawn, structures)
    volumes = [phase.image.hu for phase in phases.phases]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("matching phases", total=len(volumes))
        found = respiratory_motion(
            volumes,
            reference=reference,
            structures=drawn,
            targets=target,
            progress=lambda _: bar.advance(task),
        )
    image = phases.phases[reference].image
    itvs = [internal_target_volume(drawn[name], found, like=image.hu) for name in target]
    outputs = _write(phases, found, drawn, StructureSet(tuple(itvs), image.frame_of_reference_uid), out)
    figures = tuple(
        TargetMotionFigures(
            name=moved.name,
            displacement_mm=moved.displacement_mm,
            mean_mm=moved.mean_mm,
            amplitude_mm=moved.amplitude_mm,
            largest_mm=moved.largest_mm,
            volume_cc=structure_volume_cc(drawn[moved.name]),
            itv_cc=structure_volume_cc(itv),
        )
        for moved, itv in zip(found.structures, itvs, strict=True)
    )
    today = None if images_of_day is None else _day(image, drawn, target[0], found, images_of_day)
    return MotionAnswer(
        reference_percent=phases.phases[reference].percent,
        mid_ventilation_percent=phases.phases[found.mid_ventilation].percent,
        by_amplitude=phases.by_amplitude,
        passed_over=phases.passed_over,
        phases=tuple(
            PhaseFigures(
                percent=phase.percent,
                label=phase.label,
                passed=quality is None or quality.passed,
                reasons=() if quality is None else quality.reasons,
            )
            for phase, quality in zip(phases.phases, found.quality, strict=True)
        ),
        targets=figures,
        day=today,
        passed=found.passed and (today is None or today.passed),
        seconds=time.perf_counter() - started,
        outputs={name: path.resolve() for name, path in outputs.items()},
    )


def _reference(phases: BreathingPhases, drawn: StructureSet, where: Path) -> int:
    number = phases.number_of(drawn.referenced_series_uid)
    if number is None:
        raise InputRefusedError(
            "the structures are not drawn on a phase of this 4DCT",
            found=drawn.referenced_series_uid or "no referenced series",
            expected=", ".join(phase.image.series_uid for phase in phases.phases),
            where=str(where),
        )
    return number


def _write(
    phases: BreathingPhases, found: RespiratoryMotion, drawn: StructureSet, itvs: StructureSet, out: Path
) -> dict[str, Path]:
    """Write the ITVs on the reference phase, structures on the mid-ventilation phase, mean CT and figure."""
    out.mkdir(parents=True, exist_ok=True)
    image, middle = phases.phases[found.reference].image, phases.phases[found.mid_ventilation].image
    written = {"itv": write_structures(itvs, image=image, path=out / "RS_ITV.dcm", unreviewed=True)}
    carried = warp_structures(
        drawn,
        found.reference_from_phase[found.mid_ventilation],
        like=middle.hu.grid,
        frame_of_reference_uid=middle.frame_of_reference_uid,
        referenced_series_uid=middle.series_uid,
    )
    path = out / "RS_mid_ventilation.dcm"
    written["mid_ventilation_structures"] = write_structures(carried, image=middle, path=path, unreviewed=True)
    grid = image.hu.grid
    volumes = [phase.image.hu.resampled_to(grid, outside=-1000.0).array for phase in phases.phases]
    mean = image.hu.with_array(np.asarray(np.mean(volumes, axis=0, dtype=np.float32)))
    # without UIDs of its own it gets new ones from its content
    write_image(replace(image, hu=mean, series_uid="", slice_uids=()), out / "CT_mean")
    written["mean_ct"] = out / "CT_mean"
    percent = [phase.percent for phase in phases.phases]
    written["figure"] = write_motion_figure(found.structures, percent, found.mid_ventilation, out / "motion.svg")
    return written


def _images_of_day(where: Path) -> list[Volume]:
    several = not is_image_file(where) and sum(s.modality == "CT" for s in find_series(where)) > 1
    return [phase.image.hu for phase in read_phases(where).phases] if several else [load_image(where).volume]


def _day(
    image: PatientImage, drawn: StructureSet, name: str, found: RespiratoryMotion, day: list[Volume]
) -> DayFigures:
    with console.status("matching the day"):
        match = match_breathing(
            image.hu,
            day,
            target=mask_from_structure(drawn[name], image.hu.grid),
            planned_mm=found.structures[0].displacement_mm,
        )
    return _day_figures(match, name)


def _day_figures(match: BreathingMatch, name: str) -> DayFigures:
    return DayFigures(
        target=name,
        phases=len(match.phases),
        shift_mm=tuple(_known(phase.shift_mm) if phase.passed else None for phase in match.phases),
        amplitude_mm=_known(match.amplitude_mm),
        baseline_shift_mm=_known(match.baseline_shift_mm),
        bones_translation_mm=match.bones.translation_mm,
        bones_rotation_deg=match.bones.rotation_deg,
        centre_lps=match.bones.centre_lps,
        passed=match.passed,
        reasons=match.reasons,
    )


def _known(values: Triple) -> Triple | None:
    return values if np.all(np.isfinite(values)) else None


def _day_text(day: DayFigures) -> str:
    if day.baseline_shift_mm is None:
        return f"day: {day.target} was not found; {'; '.join(day.reasons)}"
    x, y, z = day.baseline_shift_mm
    text = (
        f"day: mean position of {day.target} beyond the bones against the plan: L {x:+.1f}, P {y:+.1f}, S {z:+.1f} mm"
    )
    return text + ("" if day.passed else f"; {'; '.join(day.reasons)}")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("motion")(answering(motion))
