"""Rigid match of an image of the day to the planning CT, six degrees of freedom."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import RegistrationError, RigidTransform, Volume

from ..preprocess import BONE_HU, PreparedImage
from ..quality import MatchLimits, MatchQuality, judge_match
from .consistency import block_figures, bone_dice, restart_spread
from .levels import (
    BODY_RESOLUTION,
    FINE_RESOLUTION,
    MID_RESOLUTION,
    MIN_VOXELS,
    body_samples,
    calibrated,
    given_region,
    level_of,
    region_samples,
    rigid_region,
)
from .refine import Fit, refine
from .samples import FixedSamples, Level
from .search import candidates, rotations_to_try
from .target import TargetMatch, match_target

#: Points sampled at 3 and 2 mm: with 20 HU of noise, 60 000 hold a match to 0.01 mm.
MID_POINTS, FINE_POINTS = 20_000, 60_000
#: A candidate this good is taken at once; with none better than the second, the search is repeated with turned images.
_GOOD_SCORE, _POOR_SCORE = 0.93, 0.8


@dataclass(frozen=True, eq=False)
class RigidMatch:
    """Where the patient is today.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        Planning CT → image of the day, LPS mm.
    centre_lps : tuple of float
        Point of the planning CT that ``translation_mm`` refers to.
    metric : float
        Correlation in the matched region.
    quality : MatchQuality
        Figures and verdict. A failed match has a transform too: show it, do not use it.
    seconds : float
        Wall time.
    target : TargetMatch or None
        How far the target moved beyond the bones, where a target was given.
    """

    moving_from_fixed: RigidTransform
    centre_lps: tuple[float, float, float]
    metric: float
    quality: MatchQuality
    seconds: float
    target: TargetMatch | None = None

    @property
    def translation_mm(self) -> tuple[float, float, float]:
        """Translation of ``centre_lps``, LPS mm."""
        return self.moving_from_fixed.translation_mm(centre_lps=self.centre_lps)

    @property
    def rotation_deg(self) -> tuple[float, float, float]:
        """Right-handed angles about LPS x, y, z; R = Rz·Rx·Ry."""
        return self.moving_from_fixed.rotation_deg()


def register_rigid(
    fixed: Volume,
    moving: Volume,
    *,
    fixed_roi: Volume | None = None,
    target: Volume | None = None,
    initial: RigidTransform | None = None,
    centre_lps: ArrayLike | None = None,
    limits: MatchLimits | None = None,
    seed: int = 0,
) -> RigidMatch:
    """Match an image of the day to the planning CT.

    A masked cross-correlation over all translations (:mod:`registration.rigid.search`) gives candidates, without trust
    in either frame. Each is refined on the whole body, then on bone at 3 mm; the best of them at 2 mm
    (:mod:`registration.rigid.refine`). Bone is matched by default: soft tissue enters as one value, so weight loss, gas
    or a swallow do not bias the match. Where the best candidate is poor, the search is repeated with the planning CT
    turned by ±8° about each axis.

    The result depends on the input and ``seed`` only, not on the number of threads.

    Parameters
    ----------
    fixed : Volume
        Planning CT in HU.
    moving : Volume
        CT or CBCT of the day in HU; its field of view may be truncated (one filling value outside, or NaN).
    fixed_roi : Volume, optional
        Mask in the planning frame (> 0.5) to match instead of bone: soft tissue then counts too.
    target : Volume, optional
        Mask in the planning frame (> 0.5): its soft tissue is matched too, by translation, and compared. The match
        itself does not depend on it.
    initial : RigidTransform, optional
        moving_from_fixed to start from, instead of the search.
    centre_lps : array_like, shape (3,), optional
        Point of the planning CT that the translation is stated for, usually the isocentre; by default the centre of
        the matched points.
    limits : MatchLimits, optional
        Limits of the verdict.
    seed : int
        Of the samples drawn.

    Raises
    ------
    RegistrationError
        If an image is empty or too small or shows no patient, if the region holds nothing, or if nothing overlaps.
    """
    started = time.perf_counter()
    planning, day = PreparedImage.of(fixed, "fixed"), PreparedImage.of(moving, "moving")
    region = rigid_region(planning)
    mid_samples = region_samples(planning, region, MID_RESOLUTION, points=MID_POINTS, seed=seed)
    start = _best_start(planning, day, mid_samples, initial=initial, seed=seed)
    if fixed_roi is not None:
        region = given_region(planning, fixed_roi)
        mid_samples = region_samples(planning, region, MID_RESOLUTION, points=MID_POINTS, seed=seed)
    fine_samples = region_samples(planning, region, FINE_RESOLUTION, points=FINE_POINTS, seed=seed)
    mid = level_of(mid_samples, start.day, MID_RESOLUTION)
    fine = level_of(fine_samples, start.day, FINE_RESOLUTION)
    fit = start.fit if fixed_roi is None else refine(mid, start.fit.moving_from_fixed)
    fit = refine(fine, fit.moving_from_fixed, iterations=40)
    if fit.points_seen < MIN_VOXELS:
        raise RegistrationError(
            "the image of the day does not show the region to match",
            found=f"{fit.points_seen} points in common",
            expected=f">= {MIN_VOXELS}",
        )
    centre = fine.points_lps.mean(axis=0) if centre_lps is None else np.asarray(centre_lps, dtype=float)
    if centre.shape != (3,) or not np.all(np.isfinite(centre)):
        raise RegistrationError("the centre must be three finite numbers", found=str(centre_lps))
    return RigidMatch(
        moving_from_fixed=fit.moving_from_fixed,
        centre_lps=(float(centre[0]), float(centre[1]), float(centre[2])),
        metric=fit.correlation,
        quality=_quality(region.name, mid, fine, fit, centre, limits or MatchLimits()),
        seconds=time.perf_counter() - started,
        target=(
            None if target is None else match_target(planning, start.day, target, fit.moving_from_fixed, seed=seed)
        ),
    )


@dataclass(frozen=True, eq=False)
class _Start:
    """A candidate refined at 3 mm, with the image of the day calibrated by its body match."""

    fit: Fit
    day: PreparedImage

    @property
    def score(self) -> float:
        # A small overlap correlates well by chance.
        return self.fit.correlation * min(1.0, self.fit.overlap / 0.5)


def _best_start(
    planning: PreparedImage,
    day: PreparedImage,
    samples: FixedSamples,
    *,
    initial: RigidTransform | None,
    seed: int,
) -> _Start:
    whole = level_of(body_samples(planning, seed=seed), day, BODY_RESOLUTION)

    def follow(guess: RigidTransform) -> _Start:
        body = refine(whole, guess, iterations=20, tolerance_mm=0.05)
        corrected = calibrated(day, body)
        return _Start(refine(level_of(samples, corrected, MID_RESOLUTION), body.moving_from_fixed), corrected)

    if initial is not None:
        return follow(initial)
    found: list[_Start] = []
    for _, guess in candidates(planning, day):
        found.append(follow(guess))
        if found[-1].score >= _GOOD_SCORE:
            return found[-1]
    if not found or max(start.score for start in found) < _POOR_SCORE:
        for turn in rotations_to_try(8.0):
            found += [follow(guess) for _, guess in candidates(planning, day, rotation_deg=turn, count=1)]
    if not found:
        raise RegistrationError("the two images have nothing in common", expected="images of the same region")
    return max(found, key=lambda start: start.score)


def _quality(
    name: str, mid: Level, fine: Level, fit: Fit, centre: NDArray[np.float64], limits: MatchLimits
) -> MatchQuality:
    blocks = block_figures(fine, fit, centre)
    spread_mm, spread_deg = restart_spread(fine, mid, fit, centre)
    return judge_match(
        limits=limits,
        converged=fit.converged,
        region=name,
        correlation=fit.correlation,
        bone_dice=bone_dice(fine, fit, threshold_hu=BONE_HU),
        overlap=fit.overlap,
        restart_spread_mm=spread_mm,
        restart_spread_deg=spread_deg,
        local_shift_mm=blocks.local_shift_mm,
        local_shift_max_mm=blocks.local_shift_max_mm,
        uncertainty_mm=blocks.uncertainty_mm,
        uncertainty_deg=blocks.uncertainty_deg,
        residual_hu=fit.residual_hu,
        points=fit.points_seen,
    )
