"""From control points to fluence: what jaws and leaves let through, per direction of the beam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.geometry import BeamGeometry
from imrt_core.machine import BeamModel, LeafModel
from imrt_core.patient import Beam, ControlPoint, PlanError

from .apertures import Segment, transmitted

Array = NDArray[np.float64]

#: Cell of the fluence map, mm on the isocentre plane. Edges inside a cell count by area.
CELL_MM = 1.25
#: Margin around the jaws' largest opening on which transmission is kept. Beyond it the 0.4 % or so is left out.
MARGIN_MM = 25.0
#: Largest gantry, collimator or table rotation, and shift of the isocentre, that one direction stands for.
ARC_STEP_DEG = 4.0
SHIFT_STEP_MM = 2.0


@dataclass(frozen=True, eq=False)
class FluenceMap:
    """Fluence of one direction of a beam.

    Parameters
    ----------
    beam : BeamGeometry
        Direction.
    mu : ndarray, shape (nv, nu)
        MU × open fraction × transmission of every cell; primary off-axis fluence is not in it.
    edges_u_mm, edges_v_mm : ndarray
        Cell edges, BLD X and Y on the isocentre plane.
    meterset : float
        MU delivered from this direction.
    """

    beam: BeamGeometry
    mu: Array
    edges_u_mm: Array
    edges_v_mm: Array
    meterset: float

    @property
    def open_cells(self) -> NDArray[np.bool_]:
        """Cells that get more than a tenth of the highest fluence."""
        return np.asarray(self.mu > 0.1 * self.mu.max())

    @property
    def relative(self) -> Array:
        """Fluence per MU."""
        return self.mu / self.meterset


def fluence_maps(
    beam: Beam, model: BeamModel, *, patient_position: str, leaves: LeafModel | None = None
) -> list[FluenceMap]:
    """Return the fluence of each direction that a beam delivers from: one for a static gantry, many for an arc.

    Between control points everything moves linearly with the meterset. Leaves and jaws are averaged over their motion
    exactly (:mod:`imrt_core.dose.apertures`); rotations and shifts of the isocentre are taken at the middles of
    parts of at most 4 degrees and 2 mm.

    Parameters
    ----------
    beam : Beam
        Control points with every value resolved.
    model : BeamModel
        Jaw transmission.
    patient_position : str
        Position on the table.
    leaves : LeafModel or None
        Leaf ends, sides and transmission; None takes sharp leaves with the beam model's transmission.

    Raises
    ------
    PlanError
        If there are neither jaws nor leaves, nothing opens, or no meterset is delivered.
    """
    edges_u, edges_v = _edges(beam)
    total = beam.control_points[-1].cumulative_weight
    if total <= 0:
        raise PlanError("the beam delivers no meterset", found=f"final weight {total}", where=f"beam {beam.name}")
    leaf_model = leaves or LeafModel(model.mlc_transmission)
    directions: dict[tuple[float, ...], tuple[BeamGeometry, list[Segment]]] = {}
    for here, there in pairwise(beam.control_points):
        mu = beam.mu * (there.cumulative_weight - here.cumulative_weight) / total
        if mu <= 0:
            continue
        for fraction, share in _sub_arcs(here, there):
            geometry = _geometry(beam, here, there, fraction + share / 2, patient_position)
            angles = (geometry.gantry_deg, geometry.collimator_deg, geometry.table_deg)
            key = tuple(round(v, 3) for v in (*angles, *geometry.isocentre_lps))
            _, segments = directions.setdefault(key, (geometry, []))
            segments.append(_segment(here, there, mu).part(fraction, fraction + share))
    return [
        FluenceMap(
            geometry,
            transmitted(
                segments,
                edges_u_mm=edges_u,
                edges_v_mm=edges_v,
                mlc=beam.mlc,
                leaves=leaf_model,
                jaw_transmission=model.jaw_transmission,
            ),
            edges_u,
            edges_v,
            sum(s.mu for s in segments),
        )
        for geometry, segments in directions.values()
    ]


def _edges(beam: Beam) -> tuple[Array, Array]:
    """Cell edges that cover the jaws' opening (the leaves' where jaws are absent) and a margin, on whole cells."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for cp in beam.control_points:
        lower, upper = _opening_box(beam, cp)
        low, high = np.minimum(low, lower), np.maximum(high, upper)
    if not np.all(np.isfinite([*low, *high])):
        raise PlanError("the beam has neither jaws nor leaves", where=f"beam {beam.name}")
    if np.any(high <= low):
        raise PlanError("the beam never opens", found="closed jaws or leaves", where=f"beam {beam.name}")
    for axis, device in enumerate(("jaw_x_mm", "jaw_y_mm")):
        jaws = [jaw for cp in beam.control_points if (jaw := getattr(cp, device)) is not None]
        if jaws:  # leaves transmit everywhere between the jaws
            low[axis], high[axis] = min(j[0] for j in jaws), max(j[1] for j in jaws)
    first = np.floor((low - MARGIN_MM) / CELL_MM).astype(int)
    last = np.ceil((high + MARGIN_MM) / CELL_MM).astype(int)
    return CELL_MM * np.arange(first[0], last[0] + 1), CELL_MM * np.arange(first[1], last[1] + 1)


def _opening_box(beam: Beam, cp: ControlPoint) -> tuple[Array, Array]:
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    for axis, jaw in enumerate((cp.jaw_x_mm, cp.jaw_y_mm)):
        if jaw is not None:
            low[axis], high[axis] = jaw
    if cp.leaves_mm is not None and beam.mlc is not None:
        travel, across = (0, 1) if beam.mlc.axis == "X" else (1, 0)
        boundaries = np.asarray(beam.mlc.boundaries_mm)
        inside = (
            (cp.leaves_mm[1] - cp.leaves_mm[0] > 0.01)
            & (boundaries[1:] > low[across])
            & (boundaries[:-1] < high[across])
        )
        if not np.any(inside):
            return np.full(2, np.inf), np.full(2, -np.inf)
        pairs = np.flatnonzero(inside)
        low[travel] = max(low[travel], cp.leaves_mm[0][inside].min())
        high[travel] = min(high[travel], cp.leaves_mm[1][inside].max())
        low[across] = max(low[across], boundaries[pairs[0]])
        high[across] = min(high[across], boundaries[pairs[-1] + 1])
    return low, high


def _sub_arcs(here: ControlPoint, there: ControlPoint) -> Iterator[tuple[float, float]]:
    turns = (
        _gantry_turn(here, there),
        _turn(here.collimator_deg, there.collimator_deg),
        _turn(here.table_deg, there.table_deg),
    )
    shift_mm = float(np.linalg.norm(np.subtract(there.isocentre_lps, here.isocentre_lps)))
    steps = max(max(abs(turn) for turn in turns) / ARC_STEP_DEG, shift_mm / SHIFT_STEP_MM)
    count = max(int(np.ceil(steps - 1e-9)), 1)
    for n in range(count):
        yield n / count, 1 / count


def _turn(here_deg: float, there_deg: float) -> float:
    return (there_deg - here_deg + 180.0) % 360.0 - 180.0


def _gantry_turn(here: ControlPoint, there: ControlPoint) -> float:
    """Signed rotation to the next control point; the direction decides where it could go either way."""
    if here.gantry_direction == "CW":
        return (there.gantry_deg - here.gantry_deg) % 360.0
    if here.gantry_direction == "CC":
        return -((here.gantry_deg - there.gantry_deg) % 360.0)
    return _turn(here.gantry_deg, there.gantry_deg)


def _geometry(
    beam: Beam, here: ControlPoint, there: ControlPoint, fraction: float, patient_position: str
) -> BeamGeometry:
    isocentre = (1 - fraction) * np.array(here.isocentre_lps) + fraction * np.array(there.isocentre_lps)
    return BeamGeometry(
        gantry_deg=(here.gantry_deg + fraction * _gantry_turn(here, there)) % 360.0,
        collimator_deg=(here.collimator_deg + fraction * _turn(here.collimator_deg, there.collimator_deg)) % 360.0,
        table_deg=(here.table_deg + fraction * _turn(here.table_deg, there.table_deg)) % 360.0,
        isocentre_lps=(float(isocentre[0]), float(isocentre[1]), float(isocentre[2])),
        patient_position=patient_position,
        sad_mm=beam.sad_mm,
    )


def _segment(here: ControlPoint, there: ControlPoint, mu: float) -> Segment:
    """Jaws and leaves on the way from one control point to the next."""

    def both(before: ArrayLike | None, after: ArrayLike | None) -> Array | None:
        return None if before is None or after is None else np.array([before, after], dtype=float)

    return Segment(
        mu,
        both(here.jaw_x_mm, there.jaw_x_mm),
        both(here.jaw_y_mm, there.jaw_y_mm),
        both(here.leaves_mm, there.leaves_mm),
    )
