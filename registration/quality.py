"""How far a match may be believed: figures and verdicts of rigid and deformable registration (TG-132).

References
----------
.. [1] K. K. Brock et al., Use of image registration and fusion algorithms and techniques in radiotherapy: report of
   the AAPM Radiation Therapy Committee Task Group No. 132, Med. Phys. 44 (2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class MatchLimits:
    """Limits of a rigid match. Chosen on simulated daily images of real patients, far from both sides.

    Parameters
    ----------
    min_correlation : float
        Of the matched region after shading correction.
    min_bone_dice : float
        Overlap of bone (HU threshold) in the part that both images show; not used where there is no bone.
    min_overlap : float
        Fraction of the matched region that the day's image shows.
    max_restart_spread_mm, max_restart_spread_deg : float
        Largest difference between matches from displaced starts.
    max_local_shift_mm : float
        Median over blocks of the region of the shift that a block would take alone.
    max_uncertainty_mm, max_uncertainty_deg : float
        Jackknife standard error over the blocks.
    """

    min_correlation: float = 0.75
    min_bone_dice: float = 0.7
    min_overlap: float = 0.3
    max_restart_spread_mm: float = 0.5
    max_restart_spread_deg: float = 0.5
    max_local_shift_mm: float = 2.0
    max_uncertainty_mm: float = 1.0
    max_uncertainty_deg: float = 1.0


@dataclass(frozen=True)
class MatchQuality:
    """Figures of a rigid match and the verdict on them.

    Parameters
    ----------
    passed : bool
        Whether every figure is within its limit.
    reasons : tuple of str
        What is not, for a person.
    region : str
        ``"bone"``, ``"body"`` (where there is too little bone) or ``"given"``.
    correlation, bone_dice, overlap : float
        See :class:`MatchLimits`; ``bone_dice`` is NaN where there is no bone.
    restart_spread_mm, restart_spread_deg : float
        Largest difference at the stated centre between matches from displaced starts.
    local_shift_mm, local_shift_max_mm : float
        Median and largest shift that a block of the region would take alone: posture that is not rigid.
    uncertainty_mm, uncertainty_deg : float
        Jackknife standard error over the blocks: what the match would change by with other parts of the region.
    residual_hu : float
        Robust standard deviation of the residual after shading correction.
    points : int
        Points of the region that the day's image shows, of those sampled.
    limits : MatchLimits
        What the verdict is against.
    """

    passed: bool
    reasons: tuple[str, ...]
    region: str
    correlation: float
    bone_dice: float
    overlap: float
    restart_spread_mm: float
    restart_spread_deg: float
    local_shift_mm: float
    local_shift_max_mm: float
    uncertainty_mm: float
    uncertainty_deg: float
    residual_hu: float
    points: int
    limits: MatchLimits = MatchLimits()


def judge_match(*, limits: MatchLimits, converged: bool, **figures: object) -> MatchQuality:
    """Compare the figures of a match with the limits. NaN fails, except for ``bone_dice`` (no bone)."""
    quality = MatchQuality(passed=False, reasons=(), limits=limits, **figures)  # type: ignore[arg-type]
    no_bone = quality.bone_dice != quality.bone_dice
    checks: Sequence[tuple[bool, str]] = (
        (converged, "the match did not converge"),
        (
            quality.overlap >= limits.min_overlap,
            f"the image of the day shows {quality.overlap:.0%} of the matched region, {limits.min_overlap:.0%} needed",
        ),
        (
            quality.correlation >= limits.min_correlation,
            f"correlation {quality.correlation:.2f} is below {limits.min_correlation:.2f}: another patient or region?",
        ),
        (
            no_bone or quality.bone_dice >= limits.min_bone_dice,
            f"bones overlap with Dice {quality.bone_dice:.2f}, below {limits.min_bone_dice:.2f}",
        ),
        (
            quality.restart_spread_mm <= limits.max_restart_spread_mm
            and quality.restart_spread_deg <= limits.max_restart_spread_deg,
            f"matches from other starts differ by {quality.restart_spread_mm:.2f} mm, "
            f"{quality.restart_spread_deg:.2f}°",
        ),
        (
            quality.local_shift_mm <= limits.max_local_shift_mm,
            f"parts of the region disagree: median {quality.local_shift_mm:.1f} mm, "
            f"limit {limits.max_local_shift_mm:.1f} mm",
        ),
        (
            quality.uncertainty_mm <= limits.max_uncertainty_mm
            and quality.uncertainty_deg <= limits.max_uncertainty_deg,
            f"the match is uncertain by {quality.uncertainty_mm:.2f} mm, {quality.uncertainty_deg:.2f}°",
        ),
    )
    reasons = tuple(text for good, text in checks if not good)
    return replace(quality, passed=not reasons, reasons=reasons)


@dataclass(frozen=True)
class DeformableLimits:
    """Limits of a deformable match (TG-132: no fold, inverse consistent within a voxel).

    Parameters
    ----------
    max_folded_percent : float
        Of the body's voxels with a Jacobian determinant ≤ 0.
    max_inverse_error_mean_mm, max_inverse_error_max_mm : float
        Of backward(forward(p)) − p inside the body.
    """

    max_folded_percent: float = 0.0
    max_inverse_error_mean_mm: float = 1.0
    max_inverse_error_max_mm: float = 3.0

    @classmethod
    def for_voxel(cls, voxel_mm: float) -> DeformableLimits:
        """Return the limits for a largest voxel side: half a voxel in the mean, one voxel at most."""
        return cls(0.0, 0.5 * voxel_mm, voxel_mm)


@dataclass(frozen=True)
class DeformableQuality:
    """Figures of a deformable match and the verdict on them.

    Parameters
    ----------
    passed : bool
        Whether the limits hold. Similarity never decides.
    reasons : tuple of str
        What does not hold.
    jacobian_min, jacobian_max, folded_percent : float
        Of the deformation inside the body (the rigid part has determinant 1).
    inverse_error_mean_mm, inverse_error_max_mm : float
        Inverse consistency inside the body.
    correlation_before, correlation_after : float
        Similarity inside the body, rigid and deformable; shown only.
    displacement_mean_mm, displacement_max_mm : float
        Deformation beyond the rigid match inside the body.
    bone_displacement_mm : float
        95th percentile of the deformation in bone: posture, or a match that bends bone.
    seen_fraction : float
        Part of the body that the day's image shows; elsewhere the field falls to the rigid match.
    smoothed_folds : int
        Rounds of local smoothing that were needed to keep the field from folding.
    limits : DeformableLimits
        What the verdict is against.
    """

    passed: bool
    reasons: tuple[str, ...]
    jacobian_min: float
    jacobian_max: float
    folded_percent: float
    inverse_error_mean_mm: float
    inverse_error_max_mm: float
    correlation_before: float
    correlation_after: float
    displacement_mean_mm: float
    displacement_max_mm: float
    bone_displacement_mm: float
    seen_fraction: float
    smoothed_folds: int
    limits: DeformableLimits = DeformableLimits()


def judge_deformation(*, limits: DeformableLimits, **figures: object) -> DeformableQuality:
    """Compare the figures of a deformable match with the limits. NaN fails."""
    quality = DeformableQuality(passed=False, reasons=(), limits=limits, **figures)  # type: ignore[arg-type]
    checks: Sequence[tuple[bool, str]] = (
        (
            quality.folded_percent <= limits.max_folded_percent,
            f"the deformation folds {quality.folded_percent:.3f} % of the body "
            f"(smallest Jacobian {quality.jacobian_min:.2f})",
        ),
        (
            quality.inverse_error_mean_mm <= limits.max_inverse_error_mean_mm,
            f"inverse consistency {quality.inverse_error_mean_mm:.2f} mm in the mean, "
            f"limit {limits.max_inverse_error_mean_mm:.2f} mm",
        ),
        (
            quality.inverse_error_max_mm <= limits.max_inverse_error_max_mm,
            f"inverse consistency {quality.inverse_error_max_mm:.2f} mm at worst, "
            f"limit {limits.max_inverse_error_max_mm:.2f} mm",
        ),
    )
    reasons = tuple(text for good, text in checks if not good)
    return replace(quality, passed=not reasons, reasons=reasons)
