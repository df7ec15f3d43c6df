"""Commands on images and transforms: ``igrt register``, ``igrt warp``, ``igrt transform-points``."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import Field
from rich.console import RenderableType
from rich.text import Text

from imrt_core.dicom import read_machine_isocentre, read_structures, write_registration, write_structures
from imrt_core.dicom.series import dicom_files
from imrt_core.patient import PATIENT_POSITIONS, DisplacementField, InputRefusedError, RigidTransform, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.patient.transform import EULER_ORDER
from registration import couch_shift, register_deformable, register_rigid, warp, warp_structures
from registration.itk import (
    FIELD_SUFFIXES,
    read_field,
    read_transform,
    read_volume,
    write_field,
    write_transform,
    write_volume,
)

from ..images import LoadedImage, dicom_kind, is_image_file, load_image, load_scalar
from .output import Answer, ForceOption, JsonOption, Part, answering, console, parse_numbers, refuse_existing

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
    isocentre: Annotated[str | None, typer.Option("--isocentre", help="Planned isocentre x,y,z, LPS mm.")] = None,
    machine_isocentre: Annotated[
        str | None, typer.Option("--machine-isocentre", help="Machine isocentre x,y,z in MOVING, LPS mm.")
    ] = None,
    patient_position: Annotated[str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP.")] = None,
    table_angle: Annotated[float, typer.Option("--table-angle", help="IEC patient support angle, degrees.")] = 0.0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> RegisterAnswer:
    """Match MOVING to FIXED and state the couch shift. Transforms map FIXED points to MOVING points."""
    started = time.perf_counter()
    if mode not in ("rigid", "deformable"):
        raise typer.BadParameter(f"--mode is rigid or deformable, not '{mode}'")
    if patient_position is not None and patient_position not in PATIENT_POSITIONS:
        raise typer.BadParameter(f"--patient-position is one of {', '.join(PATIENT_POSITIONS)}")
    planned = _point(isocentre, "--isocentre")
    stated = _point(machine_isocentre, "--machine-isocentre")
    refuse_existing(out, force=force)
    planning = load_image(fixed)
    day = load_image(moving, patient_position=patient_position)
    region = _roi(roi, planning) if roi else None
    with console.status("rigid match"):
        rigid = register_rigid(planning.volume, day.volume, fixed_roi=region, centre_lps=planned)
    quality: dict[str, Any] = _finite(asdict(rigid.quality))
    outputs: dict[str, Path] = {}
    out.mkdir(parents=True, exist_ok=True)
    if mode == "deformable":
        with console.status("deformable match"):
            deformable = register_deformable(planning.volume, day.volume, initial=rigid.moving_from_fixed)
        field = deformable.moving_from_fixed
        outputs["field"] = write_field(field, out / "field.mha")
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
        quality=quality,
        seconds=time.perf_counter() - started,
        outputs={name: path.resolve() for name, path in outputs.items()},
    )


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


class WarpAnswer(Answer):
    """What ``igrt warp`` prints."""

    out: Path
    kind: Literal["image", "structures"]
    seconds: float


def warp_command(
    transform: Annotated[Path, typer.Argument(help=".tfm, or a displacement field (.mha), fixed → moving.")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Image, dose, mask or RTSTRUCT in the moving frame.")],
    like: Annotated[Path, typer.Option("--like", help="Image whose voxels the result gets (the fixed frame).")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    inverse: Annotated[
        bool, typer.Option("--inverse", help="INPUT is in the fixed frame, --like in the moving frame.")
    ] = False,
    nearest: Annotated[bool, typer.Option("--nearest", help="No interpolation (labels).")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> WarpAnswer:
    """Carry an image, dose, mask or RTSTRUCT from the moving frame to the fixed one."""
    started = time.perf_counter()
    refuse_existing(out, force=force)
    target = load_image(like)
    mapping = _read_mapping(transform)
    if inverse:
        grid = target.volume.grid
        mapping = mapping.inverse() if isinstance(mapping, RigidTransform) else mapping.inverse_on(grid)
    if source.is_file() and not is_image_file(source) and dicom_kind(source) == "structures":
        if target.image is None:
            raise InputRefusedError(
                "an RTSTRUCT needs a DICOM image's slices", found=str(like), expected="a DICOM folder", where="--like"
            )
        warped = warp_structures(
            read_structures(source),
            mapping,
            like=target.volume.grid,
            frame_of_reference_uid=target.image.frame_of_reference_uid,
            referenced_series_uid=target.image.series_uid,
        )
        write_structures(warped, image=target.image, path=out, unreviewed=True)
        return WarpAnswer(out=out.resolve(), kind="structures", seconds=time.perf_counter() - started)
    volume = load_scalar(source).volume
    outside = float(min(0.0, volume.array.min()))
    write_volume(warp(volume, mapping, like=target.volume.grid, order=0 if nearest else 1, outside=outside), out)
    return WarpAnswer(out=out.resolve(), kind="image", seconds=time.perf_counter() - started)


class PointsAnswer(Answer):
    """What ``igrt transform-points --json`` prints."""

    points: list[tuple[float, float, float]]

    def as_text(self) -> RenderableType:
        """Return the points as CSV with header x,y,z."""
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["x", "y", "z"])
        writer.writerows([[f"{v:.6f}" for v in point] for point in self.points])
        return Text(rows.getvalue().rstrip("\n"), no_wrap=True, overflow="ignore")


def transform_points(
    transform: Annotated[Path, typer.Argument(help=".tfm, or a displacement field (.mha), fixed → moving.")],
    points: Annotated[Path, typer.Argument(help="CSV with header x,y,z; LPS mm.")],
    inverse: Annotated[bool, typer.Option("--inverse", help="From moving to fixed.")] = False,
    as_json: JsonOption = False,
) -> PointsAnswer:
    """Map points from fixed to moving space; CSV on stdout."""
    given = _read_points(points)
    mapping = _read_mapping(transform)
    if isinstance(mapping, RigidTransform):
        mapped = (mapping.inverse() if inverse else mapping).apply(given)
    else:
        mapped = mapping.apply_inverse(given) if inverse else mapping.apply(given)
    return PointsAnswer(points=[(float(x), float(y), float(z)) for x, y, z in mapped])


def _read_mapping(path: Path) -> RigidTransform | DisplacementField:
    """Read a rigid transform or a displacement field, by the ending of the name."""
    return read_field(path) if path.name.lower().endswith(FIELD_SUFFIXES) else read_transform(path)


def _read_points(path: Path) -> NDArray[np.float64]:
    """Read a CSV with header x,y,z.

    Raises
    ------
    InputRefusedError
        If the header or a row is not that.
    """

    def refused(found: str, where: str) -> InputRefusedError:
        return InputRefusedError(
            "the points cannot be read", found=found, expected="a header x,y,z and three numbers per row", where=where
        )

    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise refused(str(error), str(path)) from error
    if not rows or [name.strip().lower() for name in rows[0]] != ["x", "y", "z"]:
        raise refused(",".join(rows[0]) if rows else "an empty file", str(path))
    points = np.empty((len(rows) - 1, 3))
    for number, row in enumerate(rows[1:]):
        try:
            points[number] = [float(cell) for cell in row]
        except ValueError as error:
            raise refused(",".join(row), f"{path}, line {number + 2}") from error
    if not np.all(np.isfinite(points)):
        raise refused("NaN or infinity", str(path))
    return points


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("register")(answering(register))
    app.command("warp")(answering(warp_command))
    app.command("transform-points")(answering(transform_points))
