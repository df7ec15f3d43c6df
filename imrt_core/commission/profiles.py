"""Profiles in a water tank as the collapsed-cone engine gives them, and what they tell: off-axis fluence and focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose.collapsed_cone import direction_dose
from imrt_core.dose.fluence import FluenceMap
from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume, ray_volume
from imrt_core.machine import BeamModel
from imrt_core.machine.scans import Scan, field_edges
from imrt_core.patient import Grid, Volume

Array = NDArray[np.float64]

#: Part of the field width that counts as inside.
INSIDE = 0.8
#: From where to where beside the field the tails of a profile are compared, mm.
TAILS_MM = (8.0, 80.0)
#: Cell of the engine's lattice in a water tank: for doses on the axis and beside the field, and for penumbras, which a
#: wider cell blurs (2 mm: by about 0.4 mm, and it takes 1 % off the field at 80 % of its width).
CELL_MM, FINE_CELL_MM = 2.0, 1.0
_TANK_MM, _TANK_VOXEL_MM = 500.0, 5.0
_RASTER_MM = 1.0
_BORDER_MM = 25.0


@dataclass(frozen=True, eq=False)
class ProfilePair:
    """A measured profile and ours at its points, both 1 on the axis."""

    scan: Scan
    ours: Array

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Points within 80 % of the field width."""
        edges = field_edges(self.scan)
        return np.asarray(np.abs(self.scan.position_mm - edges.centre_mm) < INSIDE * edges.width_mm / 2)

    @property
    def tails(self) -> NDArray[np.bool_]:
        """Points beside the field and its penumbra, where head and phantom scatter."""
        edges = field_edges(self.scan)
        beyond = np.abs(self.scan.position_mm - edges.centre_mm) - edges.width_mm / 2
        return np.asarray((beyond > TAILS_MM[0]) & (beyond < TAILS_MM[1]))

    @property
    def difference_percent(self) -> Array:
        """Ours less measured, in percent of the axis."""
        return 100 * (self.ours - self.scan.value)

    @property
    def penumbra_difference_mm(self) -> float:
        """Mean of both sides, ours less measured."""
        mine, theirs = field_edges(replace(self.scan, value=self.ours)), field_edges(self.scan)
        return (mine.penumbra_left_mm + mine.penumbra_right_mm - theirs.penumbra_left_mm - theirs.penumbra_right_mm) / 2


def water_tank(ssd_mm: float, sad_mm: float) -> tuple[RayVolume, BeamGeometry]:
    """Return a cube of water under gantry 0, isocentre at the origin, and the beam."""
    count = int(_TANK_MM / _TANK_VOXEL_MM)
    first = -(_TANK_MM - _TANK_VOXEL_MM) / 2
    surface = ssd_mm - sad_mm
    grid = Grid((count,) * 3, (_TANK_VOXEL_MM,) * 3, (first, surface + _TANK_VOXEL_MM / 2, first))
    water = ray_volume(Volume(np.ones(grid.shape, dtype=np.float32), grid))
    return water, BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS", sad_mm=sad_mm)


def rectangle(beam: BeamGeometry, model: BeamModel, field_x_mm: float, field_y_mm: float) -> FluenceMap:
    """Return the opening of jaws on a raster of the isocentre plane, 1 MU."""
    half = np.ceil((max(field_x_mm, field_y_mm) / 2 + _BORDER_MM) / _RASTER_MM) * _RASTER_MM
    edges = np.arange(-half, half + _RASTER_MM / 2, _RASTER_MM)

    def opened(side: float) -> Array:
        upper, lower = np.minimum(edges[1:], side / 2), np.maximum(edges[:-1], -side / 2)
        return np.asarray(np.clip(upper - lower, 0, None) / _RASTER_MM)

    leak = model.jaw_transmission
    opening = leak + (1 - leak) * np.outer(opened(field_y_mm), opened(field_x_mm))
    return FluenceMap(beam, opening, edges, edges, 1.0)


def edge_offset_mm(scan: Scan, sad_mm: float) -> float:
    """Return how far the measured 50 % edges lie beyond the nominal ones on the isocentre plane, mean of both sides.

    Settings of jaws and leaves, not of the beam model: profiles are compared with openings of the measured width.
    """
    width = field_edges(scan).width_mm * sad_mm / (scan.ssd_mm + (scan.depth_mm or 0.0))
    return (width - (scan.field_x_mm if scan.kind == "crossline" else scan.field_y_mm)) / 2


def profile_pairs(scans: Sequence[Scan], model: BeamModel, *, cell_mm: float = FINE_CELL_MM) -> tuple[ProfilePair, ...]:
    """Compute every profile; one run of the engine for each field and distance."""
    pairs: dict[int, ProfilePair] = {}
    setups = {(s.field_x_mm, s.field_y_mm, s.ssd_mm) for s in scans}
    for field_x, field_y, ssd in sorted(setups):
        water, beam = water_tank(ssd, model.sad_mm)
        chosen = [n for n, s in enumerate(scans) if (s.field_x_mm, s.field_y_mm, s.ssd_mm) == (field_x, field_y, ssd)]
        lines = [_points_lps(scans[n], ssd, model.sad_mm) for n in chosen]
        sides = []
        for kind, side in (("crossline", field_x), ("inline", field_y)):
            beyond = [edge_offset_mm(scans[n], model.sad_mm) for n in chosen if scans[n].kind == kind]
            sides.append(side + 2 * float(np.mean(beyond)) if beyond else side)
        opening = rectangle(beam, model, *sides)
        dose = direction_dose(model, water, opening, np.concatenate(lines), cell_mm=cell_mm).gy
        for n, part in zip(chosen, np.split(dose, np.cumsum([len(line) for line in lines])[:-1]), strict=True):
            axis = float(np.interp(0.0, scans[n].position_mm, part))
            pairs[n] = ProfilePair(scans[n], np.asarray(part / axis, dtype=float))
    return tuple(pairs[n] for n in range(len(scans)))


def _points_lps(scan: Scan, ssd_mm: float, sad_mm: float) -> Array:
    """Head first supine, gantry 0: IEC X is LPS x, IEC Y is LPS z, depth goes along y."""
    points = np.zeros((len(scan.position_mm), 3))
    points[:, 0 if scan.kind == "crossline" else 2] = scan.position_mm
    points[:, 1] = (scan.depth_mm or 0.0) + ssd_mm - sad_mm
    return points


def improved_fluence(model: BeamModel, pairs: Sequence[ProfilePair]) -> BeamModel:
    """Return the model with its off-axis fluence multiplied by what the profiles inside the fields still ask for.

    A parabola in the distance from the axis: profiles of limited fields tell no more. Beyond the largest measured
    distance the factor stays what it is there.
    """
    radius, ratio = [], []
    for pair in pairs:
        distance = model.sad_mm / (pair.scan.ssd_mm + (pair.scan.depth_mm or 0.0))
        radius.append(np.abs(pair.scan.position_mm[pair.inside]) * distance)
        ratio.append((pair.scan.value / pair.ours)[pair.inside])
    r, wanted = np.concatenate(radius), np.concatenate(ratio)
    slope = float(np.sum(r**2 * (wanted - 1)) / np.sum(r**4))
    nodes = np.arange(0.0, 301.0, 10.0)
    factor = 1 + slope * np.minimum(nodes, r.max()) ** 2
    return replace(
        model,
        fluence_radius_mm=tuple(nodes.tolist()),
        fluence=tuple((factor * model.off_axis_fluence(nodes)).tolist()),
    )
