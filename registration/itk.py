"""The one module that converts to and from SimpleITK and reads or writes image files (never DICOM).

Frames agree: ITK and this project both use LPS, mm, directions as columns. A displacement field is ITK's: on the fixed
grid, fixed → moving.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its established name

from imrt_core.patient import DisplacementField, Grid, InputRefusedError, RigidTransform, Volume

#: Image files that are read and written.
VOLUME_SUFFIXES = (".mha", ".nii", ".nii.gz", ".nrrd")
#: Field files. NIfTI is left out: readers disagree on the signs of its vectors.
FIELD_SUFFIXES = (".mha", ".nrrd")
TRANSFORM_SUFFIXES = (".tfm", ".txt")


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run SimpleITK filters with a number of threads; None leaves the setting alone."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    if count is not None:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def to_itk(volume: Volume) -> Any:
    """Return a SimpleITK image of the same values and geometry (bool becomes uint8)."""
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    return _with_geometry(sitk.GetImageFromArray(array), volume.grid)


def field_to_itk(field: DisplacementField) -> Any:
    """Return a SimpleITK vector image of a displacement field."""
    return _with_geometry(sitk.GetImageFromArray(field.vectors_mm, isVector=True), field.grid)


def from_itk(image: Any) -> Volume:
    """Return a scalar SimpleITK image as a volume; a left-handed direction is made right-handed by flipping an axis.

    Raises
    ------
    InputRefusedError
        If the image is not scalar and three-dimensional, or its direction is no rotation.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputRefusedError(
            "only three-dimensional scalar images can be used",
            found=f"{image.GetDimension()} dimensions, {image.GetNumberOfComponentsPerPixel()} components",
            expected="3 dimensions, 1 component",
        )
    array, grid = _right_handed(sitk.GetArrayFromImage(image), image)
    return Volume(array, grid)


def field_from_itk(image: Any) -> DisplacementField:
    """Return a SimpleITK vector image (LPS mm) as a displacement field.

    Raises
    ------
    InputRefusedError
        If it is not a three-dimensional image of three components.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise InputRefusedError(
            "this is not a displacement field",
            found=f"{image.GetDimension()} dimensions, {image.GetNumberOfComponentsPerPixel()} components",
            expected="3 dimensions, 3 components",
        )
    array, grid = _right_handed(sitk.GetArrayFromImage(image), image)
    return DisplacementField(array.astype(np.float32), grid)


def read_volume(path: Path) -> Volume:
    """Read ``.mha``, ``.nii``, ``.nii.gz`` or ``.nrrd``.

    Raises
    ------
    InputRefusedError
        If the file is missing, of another kind, unreadable or not three-dimensional.
    """
    return from_itk(_read(path, VOLUME_SUFFIXES))


def write_volume(volume: Volume, path: Path) -> Path:
    """Write ``.mha``, ``.nii``, ``.nii.gz`` or ``.nrrd``, compressed, whole or not at all."""
    return _write(path, VOLUME_SUFFIXES, lambda temporary: sitk.WriteImage(to_itk(volume), temporary, True))


def read_field(path: Path) -> DisplacementField:
    """Read a displacement field (``.mha``, ``.nrrd``; LPS mm on the fixed grid, fixed → moving).

    Raises
    ------
    InputRefusedError
        If the file is missing, of another kind, unreadable or not a field.
    """
    return field_from_itk(_read(path, FIELD_SUFFIXES))


def write_field(field: DisplacementField, path: Path) -> Path:
    """Write a displacement field (``.mha``, ``.nrrd``), compressed, whole or not at all."""
    return _write(path, FIELD_SUFFIXES, lambda temporary: sitk.WriteImage(field_to_itk(field), temporary, True))


def read_transform(path: Path) -> RigidTransform:
    """Read a rigid transform from an ITK transform file.

    Any linear transform is accepted whose matrix is rigid; it is evaluated at points, so centre and parametrisation
    of the file do not matter.

    Raises
    ------
    InputRefusedError
        If the file is missing, unreadable, not three-dimensional or not linear; GeometryError if not rigid.
    """
    path = _checked(path, TRANSFORM_SUFFIXES)
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputRefusedError("the transform cannot be read", found=_last_line(error), where=str(path)) from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputRefusedError(
            "this is not a rigid transform in space",
            found=f"{transform.GetDimension()} dimensions, {transform.GetName()}",
            expected="a linear transform in 3 dimensions",
            where=str(path),
        )
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        # A long arm keeps the rounding of the subtraction below 1e-12.
        point = np.zeros(3)
        point[axis] = 1000.0
        matrix[:3, axis] = (np.array(transform.TransformPoint(point.tolist())) - origin) / 1000.0
    return RigidTransform.from_matrix(matrix)


def write_transform(
    transform: RigidTransform, path: Path, *, centre_lps: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Path:
    """Write moving_from_fixed as an ITK Euler transform (R = Rz·Rx·Ry) about a centre, whole or not at all."""
    euler = sitk.Euler3DTransform()
    euler.SetComputeZYX(False)
    euler.SetCenter(centre_lps)
    euler.SetRotation(*(float(np.deg2rad(a)) for a in transform.rotation_deg()))
    euler.SetTranslation(transform.translation_mm(centre_lps=centre_lps))
    return _write(path, TRANSFORM_SUFFIXES, lambda temporary: sitk.WriteTransform(euler, temporary))


def _with_geometry(image: Any, grid: Grid) -> Any:
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_lps)
    image.SetDirection(np.asarray(grid.direction).ravel().tolist())
    return image


def _right_handed(array: Any, image: Any) -> tuple[Any, Grid]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin, spacing = np.array(image.GetOrigin()), np.array(image.GetSpacing())
    size = np.array(image.GetSize())
    if np.linalg.det(direction) < 0:
        # Flip the axis whose reversal brings the image closest to the usual transverse orientation.
        axis = int(np.argmin(np.diag(direction)))
        origin = origin + direction[:, axis] * spacing[axis] * (size[axis] - 1)
        direction[:, axis] *= -1
        array = np.flip(array, axis=2 - axis)
    return array, Grid(
        shape=tuple(int(n) for n in size[::-1]),  # type: ignore[arg-type]
        spacing_mm=tuple(spacing),
        origin_lps=tuple(origin),
        direction=tuple(map(tuple, direction)),  # type: ignore[arg-type]
    )


def _suffix(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _checked(path: Path, suffixes: tuple[str, ...]) -> Path:
    path = Path(path)
    if _suffix(path) not in suffixes:
        raise InputRefusedError(
            "files of this kind are not used here",
            found=_suffix(path) or "no suffix",
            expected=" ".join(suffixes),
            where=str(path),
        )
    if not path.is_file():
        raise InputRefusedError("there is no such file", expected="a file", where=str(path))
    return path


def _read(path: Path, suffixes: tuple[str, ...]) -> Any:
    path = _checked(path, suffixes)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputRefusedError("the image cannot be read", found=_last_line(error), where=str(path)) from error


def _write(path: Path, suffixes: tuple[str, ...], write: Callable[[str], None]) -> Path:
    path = Path(path)
    if _suffix(path) not in suffixes:
        raise InputRefusedError(
            "files of this kind are not written here",
            found=_suffix(path) or "no suffix",
            expected=" ".join(suffixes),
            where=str(path),
        )
    handle, name = tempfile.mkstemp(prefix=".igrt-", suffix=_suffix(path), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(str(temporary))
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "unknown error"
