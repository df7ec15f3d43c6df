"""Commands that use a transform: ``igrt warp``, ``igrt transform-points``."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from imrt_core.dicom import read_deformable_registration, read_registration, read_structures, write_structures
from imrt_core.patient import DisplacementField, InputRefusedError, RigidTransform
from registration import warp, warp_structures
from registration.itk import FIELD_SUFFIXES, TRANSFORM_SUFFIXES, read_field, read_transform, write_volume

from ..images import dicom_kind, is_image_file, load_image, load_scalar
from .output import Answer, ForceOption, JsonOption, answering, refuse_existing

TransformArgument = Annotated[
    Path, typer.Argument(help=".tfm, displacement field (.mha) or DICOM registration, fixed → moving.")
]


class WarpAnswer(Answer):
    """What ``igrt warp`` prints."""

    out: Path
    kind: Literal["image", "structures"]
    seconds: float


def warp_command(
    transform: Annotated[
        Path, typer.Argument(help=".tfm, displacement field (.mha) or DICOM registration, fixed → moving.")
    ],
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
    transform: Annotated[
        Path, typer.Argument(help=".tfm, displacement field (.mha) or DICOM registration, fixed → moving.")
    ],
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
    """Read a rigid transform or a displacement field: by the ending of the name, or a DICOM registration."""
    if path.name.lower().endswith(FIELD_SUFFIXES):
        return read_field(path)
    if path.name.lower().endswith(TRANSFORM_SUFFIXES):
        return read_transform(path)
    kind = dicom_kind(path)
    if kind == "deformable registration":
        return read_deformable_registration(path).moving_from_fixed
    if kind == "registration":
        return read_registration(path).moving_from_fixed
    raise InputRefusedError(
        "not a transform",
        found=f"a DICOM {kind}",
        expected=f"a file ending in {', '.join((*FIELD_SUFFIXES, *TRANSFORM_SUFFIXES))}, or a DICOM registration",
        where=str(path),
    )


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
    app.command("warp")(answering(warp_command))
    app.command("transform-points")(answering(transform_points))
