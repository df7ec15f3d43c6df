"""Motion of structures over the phases of a respiration-correlated CT (4DCT).

One phase, on which the structures are drawn, is matched deformably to every other one. A target's internal target
volume (ITV, ICRU 62) is all of its places together; the mid-ventilation phase [1]_ is the one in which the target is
nearest to its mean position over the cycle: planned on it, a free-breathing image of the day has no systematic
difference from the plan.

References
----------
.. [1] J. W. H. Wolthaus et al., "Mid-ventilation CT scan construction from four-dimensional respiration-correlated CT
   scans for radiotherapy planning of lung cancer patients", Int. J. Radiat. Oncol. Biol. Phys. 65, 1560-1571, 2006,
   doi:10.1016/j.ijrobp.2006.04.031.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import RegistrationError, RigidTransform, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure

from ..deformable import register_deformable
from ..quality import DeformableQuality
from ..warp import Transform, contoured, swept_mask

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class StructureMotion:
    """How a structure moves over the breathing cycle.

    Parameters
    ----------
    name : str
        Of the structure.
    displacement_mm : tuple of (float, float, float)
        Of its voxels' mean in every phase against the reference phase, along LPS.
    mean_mm : tuple of float
        Mean of these over the cycle.
    amplitude_mm : tuple of float
        Peak to peak along LPS: left-right, anterior-posterior, superior-inferior.
    """

    name: str
    displacement_mm: tuple[Triple, ...]
    mean_mm: Triple
    amplitude_mm: Triple

    @property
    def largest_mm(self) -> float:
        """Largest distance between two phases."""
        places = np.array(self.displacement_mm)
        return float(np.linalg.norm(places[:, None] - places[None, :], axis=-1).max())


@dataclass(frozen=True, eq=False)
class RespiratoryMotion:
    """Motion over all phases.

    Parameters
    ----------
    reference : int
        Number of the phase that structures are drawn on.
    phase_from_reference : tuple of RigidTransform or DisplacementField
        On the reference grid: where a point of the reference phase is in each phase; identity for itself.
    reference_from_phase : tuple of RigidTransform or DisplacementField
        The inverses.
    quality : tuple of DeformableQuality or None
        Verdict on each match; None for the reference.
    structures : tuple of StructureMotion
        In the order asked for.
    mid_ventilation : int
        Phase in which the first structure is nearest to its mean position.
    seconds : float
        Wall time.
    """

    reference: int
    phase_from_reference: tuple[Transform, ...]
    reference_from_phase: tuple[Transform, ...]
    quality: tuple[DeformableQuality | None, ...]
    structures: tuple[StructureMotion, ...]
    mid_ventilation: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every match holds its limits."""
        return all(quality is None or quality.passed for quality in self.quality)


def respiratory_motion(
    phases: Sequence[Volume],
    *,
    reference: int,
    structures: StructureSet,
    targets: Sequence[str],
    weights: Sequence[float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> RespiratoryMotion:
    """Match the reference phase to all others and follow targets through the cycle.

    Parameters
    ----------
    phases : sequence of Volume
        HU, in the order of the cycle and in one frame.
    reference : int
        Which phase the structures are drawn on.
    structures : StructureSet
        Contours on the reference phase.
    targets : sequence of str
        Structures to follow; the first one decides the mid-ventilation phase.
    weights : sequence of float, optional
        Share of time of every phase; equal by default, as phases sorted by time have.
    progress : callable
        Called with the number of a phase when it is done.

    Raises
    ------
    RegistrationError
        If there are fewer than two phases, no target, the reference is none of them or weights do not fit.
    StructureError
        If a target does not exist.
    """
    started = time.perf_counter()
    share = _shares(weights, len(phases))
    if len(phases) < 2 or not 0 <= reference < len(phases) or not targets:
        raise RegistrationError(
            "breathing needs two phases, one of them the reference, and a target",
            found=f"{len(phases)} phases, reference {reference}, {len(targets)} targets",
        )
    drawn = [structures[name] for name in targets]
    there: list[Transform] = []
    back: list[Transform] = []
    quality: list[DeformableQuality | None] = []
    for number, phase in enumerate(phases):
        if number == reference:
            there.append(RigidTransform.identity())
            back.append(RigidTransform.identity())
            quality.append(None)
        else:
            grid = phases[reference].grid
            match = register_deformable(phases[reference], phase, initial=RigidTransform.identity(), day=grid)
            there.append(match.moving_from_fixed)
            back.append(match.fixed_from_moving)
            quality.append(match.quality)
        if progress is not None:
            progress(number)
    moved = tuple(_motion(structure, there, share, phases[reference]) for structure in drawn)
    away = np.array(moved[0].displacement_mm) - moved[0].mean_mm
    return RespiratoryMotion(
        reference=reference,
        phase_from_reference=tuple(there),
        reference_from_phase=tuple(back),
        quality=tuple(quality),
        structures=moved,
        mid_ventilation=int(np.argmin(np.linalg.norm(away, axis=1))),
        seconds=time.perf_counter() - started,
    )


def internal_target_volume(
    structure: Structure, motion: RespiratoryMotion, *, like: Volume, name: str | None = None
) -> Structure:
    """Return the volume that a structure sweeps over all phases, contoured on the reference phase's slices.

    Parameters
    ----------
    structure : Structure
        Drawn on the reference phase.
    motion : RespiratoryMotion
        Of these phases.
    like : Volume
        Reference phase.
    name : str, optional
        Of the result; by default that of the structure with ``ITV_`` in front, since a structure of TG-263 that is
        derived from another begins with its type.
    """
    swept = swept_mask(structure, motion.reference_from_phase, like=like.grid)
    return replace(contoured(swept, structure), name=name or f"ITV_{structure.name}")


def _shares(weights: Sequence[float] | None, count: int) -> NDArray[np.float64]:
    share = np.ones(count) if weights is None else np.array(weights, dtype=np.float64)
    if share.shape != (count,) or not np.all(np.isfinite(share)) or np.any(share < 0) or not share.sum() > 0:
        raise RegistrationError(
            "shares of time must be one per phase, finite and not negative", found=str(weights), expected=f"{count}"
        )
    return np.asarray(share / share.sum())


def _motion(
    structure: Structure, there: Sequence[Transform], share: NDArray[np.float64], phase: Volume
) -> StructureMotion:
    inside = mask_from_structure(structure, phase.grid).array
    index = np.argwhere(inside > 0)[:, ::-1]
    fraction = inside[inside > 0].astype(np.float64)
    points = phase.grid.to_lps(index)
    places = np.array([np.average(t.apply(points) - points, axis=0, weights=fraction) for t in there])
    return StructureMotion(
        name=structure.name,
        displacement_mm=tuple(triple(place) for place in places),
        mean_mm=triple(share @ places),
        amplitude_mm=triple(np.ptp(places, axis=0)),
    )


def triple(values: NDArray[np.float64]) -> Triple:
    """Return three numbers as a tuple."""
    x, y, z = (float(v) for v in values)
    return x, y, z
