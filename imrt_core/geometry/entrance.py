"""Which beams pass a structure on their way to the target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, StructureError, StructureSet
from imrt_core.patient.contours import mask_from_structure

from .iec61217 import source_lps

#: Voxels of the masks, step along a ray, and rays to the targets.
_VOXEL_MM = 2.5
_STEP_MM = 2.0
_RAYS = 400


class EntranceTest:
    """Follows rays from the source to points of the targets and looks for structures before the first target voxel.

    Parameters
    ----------
    structures : StructureSet
        LPS mm, transverse contours.
    targets : sequence of str
        Prescribed structures, taken together.
    avoided : sequence of str
        Structures to look for.
    isocentre_lps : tuple of float
        mm.
    patient_position : str
        Of the image.
    sad_mm : float
        Source-axis distance.

    Raises
    ------
    StructureError
        If a structure is absent or empty.

    Notes
    -----
    Voxels of 2.5 mm, filled by half or more; a structure thinner than that may be missed. Four hundred rays, spread
    evenly over the voxels of the targets.
    """

    def __init__(
        self,
        structures: StructureSet,
        *,
        targets: Sequence[str],
        avoided: Sequence[str],
        isocentre_lps: tuple[float, float, float],
        patient_position: str,
        sad_mm: float = 1000.0,
    ) -> None:
        self.isocentre_lps = isocentre_lps
        self.patient_position = patient_position
        self.sad_mm = sad_mm
        names = [*dict.fromkeys([*targets, *avoided])]
        for name in names:
            if structures[name].is_empty:
                raise StructureError(
                    "a beam cannot avoid, or aim at, an empty structure", found="no contours", where=name
                )
        points = np.concatenate([c.points_lps for name in names for c in structures[name].contours])
        lower, upper = points.min(axis=0) - 3 * _VOXEL_MM, points.max(axis=0) + 3 * _VOXEL_MM
        nx, ny, nz = (int(n) for n in np.ceil((upper - lower) / _VOXEL_MM) + 1)
        self._grid = Grid((nz, ny, nx), (_VOXEL_MM,) * 3, (float(lower[0]), float(lower[1]), float(lower[2])))
        masks = {name: mask_from_structure(structures[name], self._grid).array >= 0.5 for name in names}
        self._target = np.any([masks[name] for name in targets], axis=0)
        self._avoided = {name: masks[name] for name in avoided}
        if not self._target.any():
            raise StructureError(
                "the targets are too small to aim at", found="no voxel", expected=f"{_VOXEL_MM} mm voxels"
            )
        self._percent = cache(self._traced)

    @cached_property
    def _points_lps(self) -> NDArray[np.float64]:
        voxels = np.argwhere(self._target)
        chosen = voxels[np.unique(np.linspace(0, len(voxels) - 1, min(_RAYS, len(voxels))).astype(int))]
        return self._grid.to_lps(chosen[:, ::-1].astype(float))

    def percent_through(self, structure: str, gantry_deg: float, table_deg: float = 0.0) -> float:
        """Return the share of the rays to the targets that pass a structure before the first target voxel, in %.

        Parameters
        ----------
        structure : str
            One of ``avoided``.
        gantry_deg, table_deg : float
            IEC 61217.
        """
        return self._percent(gantry_deg % 360.0, table_deg % 360.0)[structure]

    def _traced(self, gantry_deg: float, table_deg: float) -> dict[str, float]:
        source = source_lps(
            gantry_deg=gantry_deg,
            table_deg=table_deg,
            patient_position=self.patient_position,
            isocentre_lps=self.isocentre_lps,
            sad_mm=self.sad_mm,
        )
        towards = self._points_lps - source
        length = np.linalg.norm(towards, axis=1, keepdims=True)
        # from the far side of the box to the point: no structure lies further out
        shape = np.array(self._grid.shape[::-1])
        back = np.arange(float(np.linalg.norm(shape * _VOXEL_MM)), -1e-9, -_STEP_MM)
        along = self._points_lps[:, None, :] - (towards / length)[:, None, :] * back[None, :, None]
        index = np.rint((along - np.asarray(self._grid.origin_lps)) / _VOXEL_MM).astype(np.int32)
        inside = np.all((index >= 0) & (index < shape), axis=-1)
        i, j, k = np.moveaxis(np.clip(index, 0, shape - 1), -1, 0)
        before = ~np.logical_or.accumulate(self._target[k, j, i] & inside, axis=1) & inside
        return {
            name: 100.0 * float(np.mean(np.any(mask[k, j, i] & before, axis=1))) for name, mask in self._avoided.items()
        }
