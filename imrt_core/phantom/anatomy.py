"""What an anatomy builder hands over: HU, rigid bone, and the regions to contour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.margins import expand
from imrt_core.patient import Grid, Structure, Volume
from imrt_core.patient.contours import structure_from_mask

from .canvas import coverage, level_from_coverage
from .shapes import Level

#: Display colours by kind, so that a reader finds targets and cords where the eye expects them.
_COLORS = {
    "EXTERNAL": (0, 200, 0),
    "PTV": (230, 40, 40),
    "CTV": (240, 130, 40),
    "GTV": (250, 200, 60),
}
_ORGAN_COLORS = ((70, 130, 250), (60, 200, 200), (190, 90, 220), (240, 220, 70), (150, 110, 70), (250, 150, 200))


@dataclass(frozen=True, eq=False)
class Region:
    """A solid to be contoured.

    Parameters
    ----------
    name : str
        TG-263 name.
    level : Level
        Its surface.
    interpreted_type : str
        RT ROI Interpreted Type.
    """

    name: str
    level: Level
    interpreted_type: str = "ORGAN"


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A digital patient before it gets an identity.

    Parameters
    ----------
    tissue_hu : Volume
        The patient, HU, without any scanner's noise.
    bone : ndarray of bool
        Voxels that move as one rigid body.
    regions : tuple of Region
        To be contoured, External first.
    """

    tissue_hu: Volume
    bone: NDArray[np.bool_]
    regions: tuple[Region, ...]

    def structures(self) -> tuple[Structure, ...]:
        """Contour every region."""
        return tuple(
            structure_from_mask(
                Volume(coverage(region.level.full()), self.tissue_hu.grid),
                name=region.name,
                number=number,
                interpreted_type=region.interpreted_type,
                color_rgb=_COLORS.get(region.interpreted_type, _ORGAN_COLORS[number % len(_ORGAN_COLORS)]),
            )
            for number, region in enumerate(self.regions, start=1)
        )


def expanded(level: Level, *, grid: Grid, margin_mm: float) -> Level:
    """Return a solid grown by an isotropic margin, by the same rule as :func:`imrt_core.geometry.margins.expand`.

    Parameters
    ----------
    level : Level
        The solid.
    grid : Grid
        Its grid.
    margin_mm : float
        Margin, positive.
    """
    reach = np.ceil((margin_mm + 6) / np.asarray(grid.spacing_mm[::-1])).astype(int)
    k, j, i = (
        slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in zip(level.slices, reach, level.shape, strict=True)
    )
    part = grid.cropped((i.start, j.start, k.start), (i.stop, j.stop, k.stop))
    grown = expand(Volume(coverage(level.full()[k, j, i]), part), margin_mm)
    return Level(level_from_coverage(grown.array), (k, j, i), level.shape)
