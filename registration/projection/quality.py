"""How far a match of radiographs may be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .refine import ARM_MM, ViewFit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ProjectionLimits:
    """Limits of a match of radiographs. Chosen on simulated pairs, between true ones and those of other patients.

    Parameters
    ----------
    min_correlation : float
        Of every view's slopes with its DRR's.
    max_restart_spread_mm, max_restart_spread_deg : float
        Largest difference between matches from displaced starts.
    max_uncertainty_mm, max_uncertainty_deg : float
        Jackknife standard error over tiles of the images.
    max_view_shift_mm : float
        Shift in its own plane that a view would take alone, at the isocentre: images of two moments, or a geometry
        that is not the one stated. Two images share one axis only, and a match meets them on the way.
    max_rotation_deg : float
        Of the whole match: beyond what the search covers, an image of something else is turned until it fits somehow.
    """

    min_correlation: float = 0.7
    max_restart_spread_mm: float = 0.5
    max_restart_spread_deg: float = 0.5
    max_uncertainty_mm: float = 0.7
    max_uncertainty_deg: float = 0.7
    max_view_shift_mm: float = 0.5
    max_rotation_deg: float = 10.0


@dataclass(frozen=True)
class ProjectionQuality:
    """Figures of a match of radiographs and the verdict on them.

    Parameters
    ----------
    passed : bool
        Whether every figure is within its limit.
    reasons : tuple of str
        What is not, for a person.
    correlations, view_shifts_mm : tuple of float
        Per view; see :class:`ProjectionLimits`.
    restart_spread_mm, restart_spread_deg : float
        Largest difference at the stated centre between matches from displaced starts.
    uncertainty_mm, uncertainty_deg : float
        Of the translation of the machine isocentre's point, and of the rotation; of what was matched only.
    rotation_deg : float
        Angle of the whole rotation found.
    view_angle_deg : float
        Largest angle between two beam axes; 0 for one image.
    pixels : tuple of int
        Pixels compared, per view.
    limits : ProjectionLimits
        What the verdict is against.
    """

    passed: bool
    reasons: tuple[str, ...]
    correlations: tuple[float, ...]
    view_shifts_mm: tuple[float, ...]
    restart_spread_mm: float
    restart_spread_deg: float
    uncertainty_mm: float
    uncertainty_deg: float
    rotation_deg: float
    view_angle_deg: float
    pixels: tuple[int, ...]
    limits: ProjectionLimits = ProjectionLimits()


def judge_projection(
    *, limits: ProjectionLimits, labels: Sequence[str], converged: bool, **figures: object
) -> ProjectionQuality:
    """Compare the figures with the limits. NaN fails."""
    quality = ProjectionQuality(passed=False, reasons=(), limits=limits, **figures)  # type: ignore[arg-type]
    checks = [(converged, "the match did not converge")]
    for label, correlation in zip(labels, quality.correlations, strict=True):
        checks.append(
            (
                correlation >= limits.min_correlation,
                f"{label}: correlation {correlation:.2f} is below {limits.min_correlation:.2f}: "
                "another patient, region or direction?",
            )
        )
    for label, shift in zip(labels, quality.view_shifts_mm, strict=True):
        checks.append(
            (
                shift <= limits.max_view_shift_mm,
                f"{label} disagrees with the other views by {shift:.1f} mm: did the patient move in between?",
            )
        )
    checks += [
        (
            quality.restart_spread_mm <= limits.max_restart_spread_mm
            and quality.restart_spread_deg <= limits.max_restart_spread_deg,
            f"matches from other starts differ by {quality.restart_spread_mm:.2f} mm, "
            f"{quality.restart_spread_deg:.2f}°",
        ),
        (
            quality.uncertainty_mm <= limits.max_uncertainty_mm
            and quality.uncertainty_deg <= limits.max_uncertainty_deg,
            f"the match is uncertain by {quality.uncertainty_mm:.2f} mm, {quality.uncertainty_deg:.2f}°",
        ),
        (
            quality.rotation_deg <= limits.max_rotation_deg,
            f"a rotation of {quality.rotation_deg:.1f}° is beyond {limits.max_rotation_deg:g}°",
        ),
    ]
    reasons = tuple(text for good, text in checks if not good)
    return replace(quality, passed=not reasons, reasons=reasons)


def uncertainty(views: Sequence[ViewFit], basis: Array) -> tuple[float, float]:
    """Return the jackknife standard error of translation (mm) and rotation (degrees), over tiles left out in turn."""
    matrices = np.concatenate([v.matrix for v in views])
    vectors = np.concatenate([v.vector for v in views])
    used = np.flatnonzero(np.trace(matrices, axis1=1, axis2=2) > 0)
    count = len(used)
    if count < 2:
        return float("nan"), float("nan")
    matrix, vector = (part.sum(axis=0) for part in (matrices, vectors))
    steps = np.stack([_step(matrix - matrices[n], vector - vectors[n], basis) for n in used])
    error = np.sqrt((count - 1) / count * np.sum((steps - steps.mean(axis=0)) ** 2, axis=0))
    return float(np.linalg.norm(error[3:])), float(np.rad2deg(np.linalg.norm(error[:3]) / ARM_MM))


def _step(matrix: Array, vector: Array, basis: Array) -> Array:
    reduced = basis.T @ matrix @ basis
    if not np.all(np.isfinite(reduced)) or np.trace(reduced) <= 0:
        return np.full(6, np.nan)
    return np.asarray(basis @ np.linalg.lstsq(reduced, basis.T @ vector)[0])
