"""``igrt register``: the rigid or deformable match of two images, and the couch shift."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pydantic import Field

from imrt_core.dicom import (
    read_machine_isocentre,
    read_structures,
    write_deformable_registration,
    write_registration,
)
from imrt_core.dicom.series import dicom_files
from imrt_core.patient import PATIENT_POSITIONS, InputRefusedError, RigidTransform, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.patient.transform import EULER_ORDER
from registration import TargetMatch, couch_shift, register_deformable, register_rigid, warp
from registration.itk import (
    read_volume,
    write_field,
    write_transform,
    write_volume,
)

from ..images import LoadedImage, dicom_kind, load_image
from .output import Answer, ForceOption, JsonOption, Part, answering, console, parse_numbers, refuse_existing

#: Errors of the deformation that are drawn: the spread is then known to within 12 %.
_SAMPLES = 12
#: Rotation of a transform that is not rigid has no single value; the rigid match that it starts from is stated.
_UNTRUSTED = "the match failed its quality limits: "


class CouchFigures(Part):
    """Couch shift in IEC 61217: motion of the table, pivot at the machine isocentre, rotation then translation."""

    vertical_mm: float = Field(description="+ up")
    longitudinal_mm: float = Field(description="+ towards the gantry")
    lateral_mm: float = Field(description="+ X")
    pitch_deg: float
    roll_deg: float
    yaw_deg: float


class TargetFigures(Part):
    """The target's soft tissue, matched by translation on top of the match."""

    shift_mm: tuple[float, float, float] | None = Field(description="along LPS of the planning CT; null if not found")
    correlation: float | None
    overlap: float
    spread_mm: float | None
    passed: bool
    reasons: tuple[str, ...]


class RegisterAnswer(Answer):
    """What ``igrt register`` prints."""

    mode: Literal["rigid", "deformable"]
    translation_mm: tuple[float, float, float] = Field(description="LPS, of centre_lps, moving from fixed")
    rotation_deg: tuple[float, float, float] = Field(description="about LPS x, y, z")
    centre_lps: tuple[float, float, float]
    euler_order: str
    couch_shift: CouchFigures | None
    couch_shift_reason: str | None
    metric: float
    target: TargetFigures | None = Field(default=None, description="how far the target moved beyond the match")
    quality: dict[str, Any]
    seconds: float
    outputs: dict[str, Path]

    def must_look(self) -> bool:
        """Whether the match failed or the couch shift is withheld."""
        return not self.quality["passed"] or self.couch_shift is None


def register(
    fixed: Annotated[Path, typer.Argument(help="Planning CT: DICOM folder, .mha, .nii, .nii.gz or .nrrd.")],
    moving: Annotated[Path, typer.Argument(help="Image of the day, the same kinds.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for transform, resampled image and DICOM REG.")],
    mode: Annotated[str, typer.Option("--mode", help="rigid or deformable.")] = "rigid",
    roi: Annotated[str | None, typer.Option("--roi", help="Mask image, or RTSTRUCT:NAME, planning frame.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Target to compare with the match: mask image, or RTSTRUCT:NAME.")
    ] = None,
    isocentre: Annotated[str | None, typer.Option("--isocentre", help="Planned isocentre x,y,z, LPS mm.")] = None,
    machine_isocentre: Annotated[
        str | None, typer.Option("--machine-isocentre", help="Machine isocentre x,y,z in MOVING, LPS mm.")
    ] = None,
    patient_position: Annotated[str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP.")] = None,
    table_angle: Annotated[float, typer.Option("--table-angle", help="IEC patient support angle, degrees.")] = 0.0,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also write how certain the deformation is (uncertainty.mha, mm).")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> RegisterAnswer:
    """Match MOVING to FIXED and state the couch shift. Transforms map FIXED points to MOVING points."""
    started = time.perf_counter()
    if mode not in ("rigid", "deformable"):
        raise typer.BadParameter(f"--mode is rigid or deformable, not '{mode}'")
    if uncertainty and mode != "deformable":
        raise typer.BadParameter("--uncertainty is of --mode deformable")
    if patient_position is not None and patient_position not in PATIENT_POSITIONS:
        raise typer.BadParameter(f"--patient-position is one of {', '.join(PATIENT_POSITIONS)}")
    planned = _point(isocentre, "--isocentre")
    stated = _point(machine_isocentre, "--machine-isocentre")
    refuse_existing(out, force=force)
    planning = load_image(fixed)
    day = load_image(moving, patient_position=patient_position)
    region = _roi(roi, planning) if roi else None
    with console.status("rigid match"):
        rigid = register_rigid(
            planning.volume,
            day.volume,
            fixed_roi=region,
            target=_roi(target, planning) if target else None,
            centre_lps=planned,
        )
    quality: dict[str, Any] = _finite(asdict(rigid.quality))
    outputs: dict[str, Path] = {}
    out.mkdir(parents=True, exist_ok=True)
    if mode == "deformable":
        with console.status("deformable match"):
            deformable = register_deformable(
                planning.volume, day.volume, initial=rigid.moving_from_fixed, samples=_SAMPLES if uncertainty else 0
            )
        field = deformable.moving_from_fixed
        outputs["field"] = write_field(field, out / "field.mha")
        if deformable.samples is not None:
            spread = deformable.samples.spread_mm(planning.volume.grid)
            outputs["uncertainty"] = write_volume(spread, out / "uncertainty.mha")
        resampled = warp(day.volume, field, like=planning.volume.grid, outside=-1000.0)
        quality = {
            **_finite(asdict(deformable.quality)),
            "rigid": quality,
            "passed": rigid.quality.passed and deformable.quality.passed,
        }
    else:
        resampled = warp(day.volume, rigid.moving_from_fixed, like=planning.volume.grid, outside=-1000.0)
    outputs["transform"] = write_transform(rigid.moving_from_fixed, out / "transform.tfm", centre_lps=rigid.centre_lps)
    outputs["resampled"] = write_volume(resampled, out / "moving_resampled.mha")
    if planning.image is not None and day.image is not None:
        outputs["registration"] = write_registration(
            rigid.moving_from_fixed, fixed=planning.image, moving=day.image, path=out / "registration.dcm"
        )
        if mode == "deformable":
            outputs["deformable_registration"] = write_deformable_registration(
                field, fixed=planning.image, moving=day.image, path=out / "deformable_registration.dcm"
            )
    shift, reason = _couch_shift(rigid.moving_from_fixed, planned, stated, day, patient_position, table_angle)
    if shift is not None and not quality["passed"]:
        shift, reason = None, _UNTRUSTED + "; ".join(rigid.quality.reasons or ("see quality",))
    if reason:
        console.print(f"[yellow]couch shift withheld[/]: {reason}")
    return RegisterAnswer(
        mode="deformable" if mode == "deformable" else "rigid",
        translation_mm=rigid.translation_mm,
        rotation_deg=rigid.rotation_deg,
        centre_lps=rigid.centre_lps,
        euler_order=EULER_ORDER,
        couch_shift=shift,
        couch_shift_reason=reason,
        metric=rigid.metric,
        target=_target_figures(rigid.target),
        quality=quality,
        seconds=time.perf_counter() - started,
        outputs={name: path.resolve() for name, path in outputs.items()},
    )


def _target_figures(target: TargetMatch | None) -> TargetFigures | None:
    if target is None:
        return None
    figures = _finite(asdict(target))
    return TargetFigures(**{**figures, "shift_mm": target.shift_mm if np.all(np.isfinite(target.shift_mm)) else None})


def _point(text: str | None, option: str) -> tuple[float, float, float] | None:
    if text is None:
        return None
    x, y, z = parse_numbers(text, (3,), option=option)
    return x, y, z


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: what could not be measured is null."""
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in figures.items()}


def _roi(text: str, planning: LoadedImage) -> Volume:
    path, _, name = text.rpartition(":")
    if path and not Path(text).exists():
        return mask_from_structure(read_structures(Path(path))[name], planning.volume.grid)
    return read_volume(Path(text)).resampled_to(planning.volume.grid)


def _couch_shift(
    moving_from_fixed: RigidTransform,
    planned: tuple[float, float, float] | None,
    stated: tuple[float, float, float] | None,
    day: LoadedImage,
    patient_position: str | None,
    table_angle_deg: float,
) -> tuple[CouchFigures | None, str | None]:
    """Return the couch shift, or None with what is missing."""
    machine = stated or _registered_isocentre(day)
    position = patient_position or (day.image.patient_position if day.image else None)
    missing = [
        text
        for value, text in (
            (planned, "the planned isocentre (--isocentre)"),
            (machine, "the machine isocentre in the image of the day (--machine-isocentre, or a DICOM REG beside it)"),
            (position, "the patient position (--patient-position)"),
        )
        if value is None
    ]
    if planned is None or machine is None or position is None:
        return None, "unknown: " + "; ".join(missing)
    shift = couch_shift(
        moving_from_fixed,
        planned_isocentre_lps=planned,
        machine_isocentre_lps=machine,
        patient_position=position,
        table_angle_deg=table_angle_deg,
    )
    return CouchFigures(**asdict(shift)), None


def _registered_isocentre(day: LoadedImage) -> tuple[float, float, float] | None:
    """Return the machine isocentre that a spatial registration object beside the image states."""
    if day.image is None or not day.path.is_dir():
        return None
    frame = day.image.frame_of_reference_uid
    found = {
        point
        for file in dicom_files(day.path)
        if dicom_kind(file) == "registration"
        and (point := read_machine_isocentre(file, frame_of_reference_uid=frame)) is not None
    }
    if len(found) > 1:
        raise InputRefusedError(
            "two registration objects state different machine isocentres",
            found=" and ".join(map(str, sorted(found))),
            expected="one, or --machine-isocentre",
            where=str(day.path),
            code="isocentre-contradictory",
        )
    return next(iter(found), None)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("register")(answering(register))
