"""Phases of the day (4D-CBCT), or one free-breathing image, matched to a phase of the planning 4DCT.

Bones are matched once, to the mean of the day's phases: a table stands still while the patient breathes. The target is
then looked for in every phase, by translation; its mean over the cycle against the planned one is the baseline shift,
what a couch can correct beyond the bones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from imrt_core.patient import RegistrationError, Volume

from ..calibration import without_shading
from ..preprocess import PreparedImage
from ..rigid import RigidMatch, TargetMatch, register_rigid
from ..rigid.target import match_target
from .motion import Triple, triple


@dataclass(frozen=True, eq=False)
class BreathingMatch:
    """Where bones and target are today.

    Parameters
    ----------
    bones : RigidMatch
        Of the reference phase to the mean of the day's phases.
    phases : tuple of TargetMatch
        Of every phase; ``shift_mm`` against where ``bones`` puts the target, along the axes of the planning CT (LPS).
    mean_mm, amplitude_mm : tuple of float
        Mean and peak to peak of these shifts; NaN where a phase's target was not found.
    baseline_shift_mm : tuple of float
        Mean today minus planned mean; NaN likewise.
    passed : bool
        Whether bones and the target of every phase were matched within their limits.
    reasons : tuple of str
        Why not.
    """

    bones: RigidMatch
    phases: tuple[TargetMatch, ...]
    mean_mm: Triple
    amplitude_mm: Triple
    baseline_shift_mm: Triple
    passed: bool
    reasons: tuple[str, ...]


def match_breathing(
    reference: Volume,
    day: Sequence[Volume],
    *,
    target: Volume,
    planned_mm: ArrayLike = ((0.0, 0.0, 0.0),),
    seed: int = 0,
) -> BreathingMatch:
    """Match the bones, and the target in every phase of the day.

    Parameters
    ----------
    reference : Volume
        Phase of the planning 4DCT that the target is drawn on, HU.
    day : sequence of Volume
        HU, phases of one 4D-CBCT on one grid, or a single free-breathing image.
    target : Volume
        Mask (> 0.5), planning frame.
    planned_mm : array_like, shape (n, 3)
        Displacement of the target against the reference phase in every phase of the planned cycle
        (:attr:`~registration.respiratory.StructureMotion.displacement_mm`): where it is looked for, and the mean that
        the day's is compared with.
    seed : int
        Of the samples drawn.

    Raises
    ------
    RegistrationError
        If there is no phase, the phases do not share a grid, the target is empty, or as :func:`register_rigid`.
    """
    if not day or any(phase.grid != day[0].grid for phase in day):
        raise RegistrationError(
            "phases of the day must lie on one grid", found=f"{len(day)} phases", expected="at least one, alike"
        )
    if not np.any(np.asarray(target.array) > 0.5):
        raise RegistrationError("the target is empty", found="no voxel above 0.5")
    planned = np.asarray(planned_mm, dtype=np.float64)
    mean_of_day = day[0].with_array(np.asarray(np.mean([phase.array for phase in day], axis=0, dtype=np.float32)))
    bones = register_rigid(reference, mean_of_day, seed=seed)
    planning = PreparedImage.of(reference, "fixed")
    found = []
    for phase in day:
        today = without_shading(planning, PreparedImage.of(phase, "moving"), bones.moving_from_fixed)
        found.append(match_target(planning, today, target, bones.moving_from_fixed, seed=seed, expected_mm=planned))
    # one phase that was taken for another place would spoil the mean
    places = np.array([match.shift_mm if match.passed else (np.nan,) * 3 for match in found])
    mean = places.mean(axis=0)
    reasons = tuple(f"bones: {reason}" for reason in bones.quality.reasons)
    reasons += tuple(f"phase {n}: {reason}" for n, match in enumerate(found, 1) for reason in match.reasons)
    return BreathingMatch(
        bones=bones,
        phases=tuple(found),
        mean_mm=triple(mean),
        amplitude_mm=triple(np.ptp(places, axis=0)),
        baseline_shift_mm=triple(mean - planned.mean(axis=0)),
        passed=bones.quality.passed and all(match.passed for match in found),
        reasons=reasons,
    )
