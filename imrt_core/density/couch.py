"""The treatment couch put under the patient, in place of the scanner's table.

The couch carries the patient: it lies under him in the axes of the patient support, so its place in the patient's
frame does not depend on the table angle. Turned beams meet it as they meet the patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.iec61217 import support_from_lps
from imrt_core.machine import Couch
from imrt_core.machine.density import AIR
from imrt_core.patient import GeometryError, Grid, Volume

#: Couch inside the patient below this is the roughness of the contour.
_OVERLAP_CC = 1.0


@dataclass(frozen=True, eq=False)
class WithCouch:
    """Densities with the couch.

    Parameters
    ----------
    red, mass : Volume
        Relative electron density and mass density in g/cm³, on the same grid, which may be larger than before.
    warnings : tuple of str
        Where the grid was extended, the couch cut off, or the patient reaches into it.
    """

    red: Volume
    mass: Volume
    warnings: tuple[str, ...]


def insert_couch(
    red: Volume,
    mass: Volume,
    couch: Couch,
    *,
    patient: Volume,
    patient_position: str,
    isocentre_lps: tuple[float, float, float] | None = None,
    extend: bool = True,
) -> WithCouch:
    """Put the couch under the patient.

    Layers share voxels by volume, so that the water-equivalent thickness is kept at any voxel size. Voxels of the
    patient keep their density.

    Parameters
    ----------
    red, mass : Volume
        Densities without the scanner's table; the same grid.
    couch : Couch
        As the machine file declares it.
    patient : Volume
        Fractions 0 … 1 of EXTERNAL with what lies on him, on the same grid.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``: which side of the patient is down.
    isocentre_lps : tuple of float or None
        Needed where the couch is declared relative to the isocentre.
    extend : bool
        Extend the grid so that the couch fits across and down. Along the patient it ends with the image.

    Raises
    ------
    GeometryError
        If the grids differ, the position is unknown, the patient is empty, or the couch is declared relative to an
        isocentre that is not given.
    """
    if not (red.grid.matches(mass.grid) and red.grid.matches(patient.grid)):
        raise GeometryError("densities and patient must be on one grid", where="couch insertion")
    support = support_from_lps(patient_position)
    top_mm, centre_mm = _place(couch, patient, support, isocentre_lps)
    warnings: list[str] = []
    box = _box(red.grid, support, couch, top_mm, centre_mm)
    lower, upper = _index_range(red.grid, box)
    size = np.array(red.grid.shape[::-1])
    outside = np.maximum(-lower, 0) + np.maximum(upper - size, 0)
    if outside.any() and extend:
        added = outside * np.asarray(red.grid.spacing_mm)
        before, after = np.maximum(-lower, 0), np.maximum(upper - size, 0)
        red, mass = (_padded(volume, before, after, AIR) for volume in (red, mass))
        patient = _padded(patient, before, after, 0.0)
        warnings.append(
            f"the density volume was extended by {added[0]:.0f} × {added[1]:.0f} × {added[2]:.0f} mm (x, y, z) "
            f"to hold the couch {couch.name}"
        )
    share = _coverage(red.grid, support[0], centre_mm - couch.width_mm / 2, centre_mm + couch.width_mm / 2)
    down = _layers(red.grid, support, couch, top_mm)
    if outside.any() and not extend:
        beyond = outside * np.asarray(red.grid.spacing_mm)
        across, below = (float(beyond[int(np.argmax(np.abs(support[n] @ red.grid.direction)))]) for n in (0, 2))
        warnings.append(
            f"the couch {couch.name} reaches out of the image, {across:.0f} mm across and {below:.0f} mm down, "
            "and was cut off there"
        )
    filled = np.broadcast_to(sum(down) * share, red.grid.shape)
    inside = np.asarray(patient.array) >= 0.5
    overlap_cc = float(filled[inside].sum()) * red.grid.voxel_volume_cc
    if overlap_cc > _OVERLAP_CC:
        warnings.append(f"the couch {couch.name} reaches {overlap_cc:.0f} cc into the patient, who was kept")
    where = (filled > 0) & ~inside
    made = []
    for volume, values in (
        (red, [layer.relative_electron_density for layer in couch.layers]),
        (mass, [layer.mass_density for layer in couch.layers]),
    ):
        couch_part = sum(part * value for part, value in zip(down, values, strict=True)) * share
        mixed = np.broadcast_to(couch_part + (1.0 - sum(down) * share) * AIR, red.grid.shape)
        made.append(volume.with_array(np.where(where, mixed, volume.array).astype(np.float32)))
    return WithCouch(made[0], made[1], tuple(warnings))


def couch_overlap_cc(
    couch: Couch,
    other: Volume,
    *,
    patient: Volume,
    patient_position: str,
    isocentre_lps: tuple[float, float, float] | None = None,
) -> float:
    """Return how much of a mask stands where the couch would be put, in cc; arguments as :func:`insert_couch`."""
    support = support_from_lps(patient_position)
    top_mm, centre_mm = _place(couch, patient, support, isocentre_lps)
    share = _coverage(other.grid, support[0], centre_mm - couch.width_mm / 2, centre_mm + couch.width_mm / 2)
    filled = sum(_layers(other.grid, support, couch, top_mm)) * share
    return float((other.array * filled).sum()) * other.grid.voxel_volume_cc


def _place(
    couch: Couch, patient: Volume, support: NDArray[np.float64], isocentre_lps: tuple[float, float, float] | None
) -> tuple[float, float]:
    """Return where the couch's top surface and middle lie along the support's Z and X axes (origin of LPS), mm."""
    inside = np.asarray(patient.array) >= 0.5
    if not inside.any():
        raise GeometryError("there is no patient to put the couch under", where="EXTERNAL")
    faces = {}
    for name, axis in (("x", support[0]), ("z", support[2])):
        values = np.broadcast_to(_coordinate(patient.grid, axis), inside.shape)[inside]
        half = _step(patient.grid, axis) / 2
        faces[name] = (float(values.min()) - half, float(values.max()) + half)
    if couch.below_isocentre_mm is None:
        top_mm = faces["z"][0] - couch.gap_mm
    elif isocentre_lps is None:
        raise GeometryError(
            "the couch is declared relative to the isocentre, which is not known",
            found=f"{couch.below_isocentre_mm:g} mm below it",
            expected="an isocentre",
            where=f"couch {couch.name}",
        )
    else:
        top_mm = float(support[2] @ np.asarray(isocentre_lps)) - couch.below_isocentre_mm
    return top_mm, sum(faces["x"]) / 2


def _layers(grid: Grid, support: NDArray[np.float64], couch: Couch, top_mm: float) -> list[NDArray[np.float64]]:
    """Return the share of every voxel's height in each layer; arrays that broadcast to the grid's shape."""
    shares, upper = [], top_mm
    for layer in couch.layers:
        shares.append(_coverage(grid, support[2], upper - layer.thickness_mm, upper))
        upper -= layer.thickness_mm
    return shares


def _coverage(grid: Grid, axis: NDArray[np.float64], low_mm: float, high_mm: float) -> NDArray[np.float64]:
    """Return the share of every voxel, taken as wide as it is along an axis, between two planes."""
    half = _step(grid, axis) / 2
    centre = _coordinate(grid, axis)
    overlap = np.minimum(centre + half, high_mm) - np.maximum(centre - half, low_mm)
    return np.asarray(np.clip(overlap / (2 * half), 0.0, 1.0))


def _coordinate(grid: Grid, axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every voxel centre's coordinate along an axis; size 1 along grid axes that are across it."""
    steps = axis @ grid.lps_from_index[:3, :3]
    result = np.full((1, 1, 1), float(axis @ grid.lps_from_index[:3, 3]))
    for index, step in enumerate(steps):
        if abs(step) > 1e-6 * float(np.abs(steps).max()):
            shape = [1, 1, 1]
            shape[2 - index] = grid.shape[2 - index]
            result = result + (step * np.arange(grid.shape[2 - index])).reshape(shape)
    return np.asarray(result)


def _step(grid: Grid, axis: NDArray[np.float64]) -> float:
    """Return how far a voxel reaches along an axis."""
    return float(np.abs(axis @ grid.lps_from_index[:3, :3]).max())


def _box(
    grid: Grid, support: NDArray[np.float64], couch: Couch, top_mm: float, centre_mm: float
) -> NDArray[np.float64]:
    """Return the couch's corners in LPS, as long as the grid along the table."""
    along = _coordinate(grid, support[1])
    return np.array(
        [
            support.T @ [x, y, z]
            for x in (centre_mm - couch.width_mm / 2, centre_mm + couch.width_mm / 2)
            for y in (float(along.min()), float(along.max()))
            for z in (top_mm - couch.thickness_mm, top_mm)
        ]
    )


def _index_range(grid: Grid, box: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return lower and upper (exclusive) index of the voxels that a box touches."""
    index = grid.to_index(box)
    lower, upper = index.min(axis=0) + 0.5 + 1e-6, index.max(axis=0) + 0.5 - 1e-6
    return np.floor(lower).astype(np.int64), np.ceil(upper).astype(np.int64)


def _padded(volume: Volume, before: NDArray[np.int64], after: NDArray[np.int64], value: float) -> Volume:
    size = np.array(volume.grid.shape[::-1])
    widths = list(zip(before[::-1].tolist(), after[::-1].tolist(), strict=True))
    array = np.pad(volume.array, widths, constant_values=value)
    return Volume(array, volume.grid.cropped(-before, size + after))
