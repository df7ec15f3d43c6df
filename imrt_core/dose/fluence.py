"""From control points to fluence: what jaws and leaves let through, per direction of the beam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import ArrayLike, NDArray

from imrt_core._numba import kernel
from imrt_core.geometry import BeamGeometry
from imrt_core.machine import BeamModel
from imrt_core.patient import Beam, ControlPoint, MultileafCollimator, PlanError

Array = NDArray[np.float64]

#: Cell of the fluence map, mm on the isocentre plane. Edges inside a cell count by area.
CELL_MM = 1.25
#: Margin around the jaws' largest opening on which transmission is kept. Beyond it the 0.4 % or so is left out.
MARGIN_MM = 25.0
#: Moving leaves and jaws are sampled at least this often, mm.
MOTION_STEP_MM = 2.5
_MOST_SAMPLES = 40
#: Largest gantry or collimator rotation that one direction stands for.
ARC_STEP_DEG = 4.0


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


@dataclass(frozen=True, eq=False)
class _Opening:
    """Jaws and leaves at one moment, and the MU delivered around it."""

    mu: float
    jaw_x: Array | None
    jaw_y: Array | None
    leaves: Array | None

    @property
    def jaws(self) -> tuple[float, ...]:
        """Jaw positions as a key."""
        return tuple(
            round(float(v), 4) for jaw in (self.jaw_x, self.jaw_y) for v in (jaw if jaw is not None else (np.inf,))
        )


def fluence_maps(beam: Beam, model: BeamModel, *, patient_position: str) -> list[FluenceMap]:
    """Return the fluence of each direction that a beam delivers from: one for a static gantry, many for an arc.

    Between control points everything moves linearly with the meterset. Moving leaves and jaws are sampled at the
    middles of short steps, arcs at the middles of sub-arcs of at most 4 degrees.

    Parameters
    ----------
    beam : Beam
        Control points with every value resolved.
    model : BeamModel
        Transmission.
    patient_position : str
        Position on the table.

    Raises
    ------
    PlanError
        If there are neither jaws nor leaves, nothing opens, or no meterset is delivered.
    """
    edges_u, edges_v = _edges(beam)
    total = beam.control_points[-1].cumulative_weight
    if total <= 0:
        raise PlanError("the beam delivers no meterset", found=f"final weight {total}", where=f"beam {beam.name}")
    directions: dict[tuple[float, ...], tuple[BeamGeometry, list[_Opening]]] = {}
    for here, there in pairwise(beam.control_points):
        mu = beam.mu * (there.cumulative_weight - here.cumulative_weight) / total
        if mu <= 0:
            continue
        for fraction, share in _sub_arcs(here, there):
            geometry = _geometry(beam, here, there, fraction + share / 2, patient_position)
            angles = (geometry.gantry_deg, geometry.collimator_deg, geometry.table_deg)
            key = tuple(round(v, 3) for v in (*angles, *geometry.isocentre_lps))
            _, openings = directions.setdefault(key, (geometry, []))
            openings += _openings(here, there, fraction, share, mu * share)
    return [
        FluenceMap(
            geometry,
            _transmitted(beam, openings, edges_u, edges_v, model),
            edges_u,
            edges_v,
            sum(o.mu for o in openings),
        )
        for geometry, openings in directions.values()
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
    turn = max(abs(_gantry_turn(here, there)), abs(_turn(here.collimator_deg, there.collimator_deg)))
    count = max(int(np.ceil(turn / ARC_STEP_DEG - 1e-9)), 1)
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


def _openings(here: ControlPoint, there: ControlPoint, start: float, share: float, mu: float) -> list[_Opening]:
    """Sample jaws and leaves while a part of the way between two control points is delivered."""

    def between(before: ArrayLike | None, after: ArrayLike | None) -> tuple[Array, Array] | None:
        if before is None or after is None:
            return None
        return np.asarray(before, dtype=float), np.asarray(after, dtype=float)

    pairs = [between(getattr(here, device), getattr(there, device)) for device in ("jaw_x_mm", "jaw_y_mm", "leaves_mm")]
    furthest = max(float(np.abs(p[1] - p[0]).max()) for p in pairs if p is not None) * share
    samples = min(max(int(np.ceil(furthest / MOTION_STEP_MM)), 1), _MOST_SAMPLES)
    openings = []
    for n in range(samples):
        t = start + share * (n + 0.5) / samples
        at = [None if p is None else (1 - t) * p[0] + t * p[1] for p in pairs]
        openings.append(_Opening(mu / samples, *at))
    return openings


def _transmitted(beam: Beam, openings: list[_Opening], edges_u: Array, edges_v: Array, model: BeamModel) -> Array:
    """Sum MU × transmission of every cell. Leaves are summed first, for each position of the jaws."""
    by_jaws: dict[tuple[float, ...], list[_Opening]] = {}
    for opening in openings:
        by_jaws.setdefault(opening.jaws, []).append(opening)
    total = np.zeros((len(edges_v) - 1, len(edges_u) - 1))
    for group in by_jaws.values():
        passed = np.full(total.shape, sum(o.mu for o in group))
        if beam.mlc is not None and group[0].leaves is not None:
            passed = _through_leaves(beam.mlc, group, edges_u, edges_v, model.mlc_transmission)
        jaw_x, jaw_y = group[0].jaw_x, group[0].jaw_y
        open_u = np.ones(total.shape[1]) if jaw_x is None else coverage(edges_u, jaw_x[:1], jaw_x[1:])[0]
        open_v = np.ones(total.shape[0]) if jaw_y is None else coverage(edges_v, jaw_y[:1], jaw_y[1:])[0]
        leak = model.jaw_transmission
        total += passed * (leak + (1 - leak) * open_v[:, None] * open_u[None, :])
    return total


def _through_leaves(
    mlc: MultileafCollimator, group: list[_Opening], edges_u: Array, edges_v: Array, transmission: float
) -> Array:
    boundaries = np.asarray(mlc.boundaries_mm)
    along, across = (edges_u, edges_v) if mlc.axis == "X" else (edges_v, edges_u)
    mu = np.array([o.mu for o in group])
    open_mu = np.zeros((mlc.pairs, len(along) - 1))
    sum_coverage(along, np.array([o.leaves for o in group]), mu, open_mu)
    # The part of each cell row under each leaf pair. Beyond the outermost leaves only jaws shield.
    under = coverage(across, boundaries[:-1], boundaries[1:]).T
    free = np.clip(1 - under.sum(axis=1), 0, 1) * mu.sum()
    open_cells = under @ open_mu + free[:, None]
    passed: Array = transmission * mu.sum() + (1 - transmission) * open_cells
    return passed if mlc.axis == "X" else passed.T


def coverage(edges: Array, lower: Array, upper: Array) -> Array:
    """Return the part of each cell that each interval covers, shape (intervals, cells)."""
    left = np.maximum(edges[None, :-1], lower[:, None])
    right = np.minimum(edges[None, 1:], upper[:, None])
    return np.asarray(np.clip(right - left, 0, None) / np.diff(edges)[None, :])


@kernel(parallel=True)
def sum_coverage(edges: Any, leaves: Any, mu: Any, total: Any) -> None:
    """Add MU × covered part of every cell, per leaf pair; ``leaves`` (samples, 2, pairs), ``total`` (pairs, cells)."""
    width = edges[1] - edges[0]
    cells = total.shape[1]
    for pair in prange(total.shape[0]):
        for sample in range(leaves.shape[0]):
            low, high = leaves[sample, 0, pair], leaves[sample, 1, pair]
            first = max(int(np.floor((low - edges[0]) / width)), 0)
            last = min(int(np.ceil((high - edges[0]) / width)), cells)
            for cell in range(first, last):
                covered = min(edges[cell + 1], high) - max(edges[cell], low)
                if covered > 0:
                    total[pair, cell] += mu[sample] * covered / width
