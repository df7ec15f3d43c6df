"""Apertures that follow a target's outline in the beam's-eye view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.machine import DeliveryLimits
from imrt_core.patient import MultileafCollimator, PlanError, Structure
from imrt_core.patient.slabs import contour_slabs

FloatArray = NDArray[np.float64]

#: Outlines are sampled this finely: between two points of a curve they miss a few hundredths of a millimetre.
_STEP_MM = 1.0
#: How far behind the jaw a closed pair hides, beyond the minimum gap.
_HIDE_MM = 2.0


@dataclass(frozen=True, eq=False)
class ConformalAperture:
    """One static aperture, mm at the isocentre plane in the beam-limiting-device frame.

    Parameters
    ----------
    leaves_mm : ndarray, shape (2, pairs)
        Negative and positive bank.
    jaw_x_mm, jaw_y_mm : tuple of float
        Jaws around the opening.
    """

    leaves_mm: FloatArray
    jaw_x_mm: tuple[float, float]
    jaw_y_mm: tuple[float, float]


def outline_points_lps(structures: Sequence[Structure], *, step_mm: float = _STEP_MM) -> FloatArray:
    """Sample the walls of contoured volumes, whose projections enclose those of the volumes.

    Parameters
    ----------
    structures : sequence of Structure
        Transverse contours; each stands for a slab (:func:`imrt_core.patient.slabs.contour_slabs`).
    step_mm : float
        Largest distance of neighbouring points along a contour and along z.

    Returns
    -------
    ndarray, shape (points, 3)
        LPS mm.

    Raises
    ------
    StructureError
        If contours cannot be taken for a volume.
    """
    parts: list[FloatArray] = []
    for structure in structures:
        slabs = contour_slabs(structure)
        for contour in structure.contours:
            plane = int(np.argmin(np.abs(slabs.z_mm - contour.points_lps[:, 2].mean())))
            lower, upper = float(slabs.lower_mm[plane]), float(slabs.upper_mm[plane])
            start = contour.points_lps[:, :2]
            edge = np.roll(start, -1, axis=0) - start
            count = np.maximum(np.ceil(np.hypot(edge[:, 0], edge[:, 1]) / step_mm).astype(int), 1)
            share = np.concatenate([np.arange(n) / n for n in count])
            along = np.repeat(start, count, axis=0) + share[:, None] * np.repeat(edge, count, axis=0)
            heights = np.linspace(lower, upper, int(np.ceil((upper - lower) / step_mm)) + 1)
            parts.append(np.column_stack([np.tile(along, (len(heights), 1)), np.repeat(heights, len(along))]))
    return np.concatenate(parts)


def conformal_aperture(
    points_lps: ArrayLike,
    beam: BeamGeometry,
    mlc: MultileafCollimator,
    limits: DeliveryLimits,
    *,
    margin_mm: float = 7.0,
    within: ConformalAperture | None = None,
) -> ConformalAperture:
    """Open the projection of points, and a margin around it.

    Every point is projected from the source onto the isocentre plane and grown to a disc. A leaf stands at the
    outermost place that the discs reach anywhere over its width, so that nothing of them is covered; jaws stand around
    them all.

    Parameters
    ----------
    points_lps : ndarray, shape (points, 3)
        Walls of the target, close together.
    beam : BeamGeometry
        Direction, isocentre, source-axis distance.
    mlc : MultileafCollimator
        Leaf boundaries and travel.
    limits : DeliveryLimits
        Smallest gap, and whether leaves may pass their neighbours' opposites: where they may not, leaves open further.
    margin_mm : float
        Isotropic at the isocentre plane, not negative. It makes room for the penumbra.
    within : ConformalAperture, optional
        A larger aperture of the same beam, whose jaws stay while leaves alone form this one.

    Raises
    ------
    PlanError
        If the margin is negative or the opening is longer than the collimator.
    GeometryError
        If a point lies behind the source.
    """
    if not (np.isfinite(margin_mm) and margin_mm >= 0):
        raise PlanError("a margin must not be negative", found=f"{margin_mm} mm")
    projected = beam.project(points_lps)
    along, across = (projected[:, 0], projected[:, 1]) if mlc.axis == "X" else (projected[:, 1], projected[:, 0])
    boundaries = np.asarray(mlc.boundaries_mm)
    first, last = float(across.min()) - margin_mm, float(across.max()) + margin_mm
    if first < boundaries[0] - 1e-6 or last > boundaries[-1] + 1e-6:
        raise PlanError(
            "the field is longer than the collimator",
            found=f"{first:.0f} … {last:.0f} mm",
            expected=f"{boundaries[0]:.0f} … {boundaries[-1]:.0f} mm",
            where=f"beam at gantry {beam.gantry_deg:g}°",
        )
    order = np.argsort(across, kind="stable")
    along, across = along[order], across[order]
    start = np.searchsorted(across, boundaries[:-1] - margin_mm, side="left")
    stop = np.searchsorted(across, boundaries[1:] + margin_mm, side="right")
    left, right = np.full(mlc.pairs, np.inf), np.full(mlc.pairs, -np.inf)
    for pair in np.flatnonzero(stop > start):
        near = slice(start[pair], stop[pair])
        beside = across[near] - np.clip(across[near], boundaries[pair], boundaries[pair + 1])
        reach = np.sqrt(np.maximum(margin_mm**2 - beside**2, 0.0))
        left[pair], right[pair] = (along[near] - reach).min(), (along[near] + reach).max()
    opened = right >= left
    middle = 0.5 * (left[opened] + right[opened])
    narrow = 0.5 * limits.leaf_gap_mm
    left[opened] = np.minimum(left[opened], middle - narrow)
    right[opened] = np.maximum(right[opened], middle + narrow)
    jaws = ((float(left[opened].min()), float(right[opened].max())), (first, last))
    if within is not None:
        jaws = (within.jaw_x_mm, within.jaw_y_mm) if mlc.axis == "X" else (within.jaw_y_mm, within.jaw_x_mm)
    visible = (boundaries[1:] > jaws[1][0]) & (boundaries[:-1] < jaws[1][1])
    leaves = _with_closed_pairs(left, right, jaws[0], visible, limits)
    jaw_x, jaw_y = jaws if mlc.axis == "X" else jaws[::-1]
    return ConformalAperture(leaves, jaw_x, jaw_y)


def _with_closed_pairs(
    left: FloatArray,
    right: FloatArray,
    jaw_mm: tuple[float, float],
    visible: NDArray[np.bool_],
    limits: DeliveryLimits,
) -> FloatArray:
    """Give closed pairs a place: behind a jaw where leaves may interdigitate, else beside their neighbours."""
    gap = limits.leaf_gap_mm
    opened = np.flatnonzero(right >= left)
    if limits.interdigitation:
        centre = 0.5 * (float(left[opened].min()) + float(right[opened].max()))
        behind = centre
        for place in (jaw_mm[0] - _HIDE_MM - 0.5 * gap, jaw_mm[1] + _HIDE_MM + 0.5 * gap):
            banks = (np.append(left[opened], place), np.append(right[opened], place))
            if max(float(np.ptp(bank)) for bank in banks) + 0.5 * gap <= limits.leaf_span_mm:
                behind = place
                break
        for pair in np.flatnonzero(right < left):
            # Under the jaws across, the centre adds nothing to the span; elsewhere a jaw along hides the gap, unless
            # the field is too wide for the span.
            at = behind if visible[pair] else centre
            left[pair], right[pair] = at - 0.5 * gap, at + 0.5 * gap
        return np.stack([left, right])
    middle = 0.5 * sum(jaw_mm)
    for pair in np.flatnonzero(right < left):
        nearest = int(opened[np.argmin(np.abs(opened - pair))])
        low, high = left[nearest] + 0.5 * gap, right[nearest] - 0.5 * gap
        place = float(np.clip(middle, low, max(low, high)))
        left[pair], right[pair] = place - 0.5 * gap, place + 0.5 * gap
    # Opening a leaf as far as its neighbour's opposite never covers anything.
    neighbour_right = np.minimum(np.append(right[1:], np.inf), np.append(np.inf, right[:-1]))
    neighbour_left = np.maximum(np.append(left[1:], -np.inf), np.append(-np.inf, left[:-1]))
    return np.stack([np.minimum(left, neighbour_right), np.maximum(right, neighbour_left)])
