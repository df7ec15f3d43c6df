"""Plan report numbers: coverage, homogeneity, conformity and gradient of targets, integral dose of the rest.

Everything is judged on the course dose. Several dose levels (simultaneous boost) share one dose distribution, and the
isodose of a lower level encloses the higher targets. Conformity and gradient are therefore figures of a *level*, not of
a target: the isodose of a prescription is compared with the union of all targets prescribed that dose or more. With one
target this is the published definition; a plan that gives each target its dose and nothing beyond has an index of 1 at
every level.

References
----------
.. [1] ICRU Report 83, J. ICRU 10(1), 2010: D98 %, D50 %, D2 %, homogeneity index (section 3.7.1.2).
.. [2] I. Paddick, J. Neurosurg. 93 (suppl 3), 219–222, 2000, doi:10.3171/jns.2000.93.supplement_3.0219.
.. [3] I. Paddick, B. Lippitz, J. Neurosurg. 105 (suppl), 194–201, 2006, doi:10.3171/sup.2006.105.7.194.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, ProtocolError, StructureError, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure

from .dvh import DVH, dvh

#: Unions and differences of targets are rasterised with voxels of this size, larger where there would be too many.
_MASK_MM = 1.0
_MOST_VOXELS = 20_000_000
#: Less than this of a target outside the higher ones has no homogeneity of its own.
_LEAST_CC = 0.1


@dataclass(frozen=True)
class TargetQuality:
    """One target, course dose in Gy.

    Parameters
    ----------
    name : str
        Of the structure.
    prescription_gy : float
        Its own prescription.
    volume_cc : float
        Whole target.
    d98_gy, d95_gy, d50_gy, d2_gy : float
        Of the whole target: least dose of its hottest 98, 95, 50 and 2 %.
    homogeneity_index : float or None
        (D2 − D98) / D50 of the part outside all targets of a higher level, 0 at best; None where there is none.
    """

    name: str
    prescription_gy: float
    volume_cc: float
    d98_gy: float
    d95_gy: float
    d50_gy: float
    d2_gy: float
    homogeneity_index: float | None


@dataclass(frozen=True)
class LevelQuality:
    """One dose level: the isodose of a prescription against all targets prescribed that dose or more.

    Parameters
    ----------
    prescription_gy : float
        Course dose of the level.
    targets : tuple of str
        Prescribed this dose or more.
    target_cc, isodose_cc, covered_cc : float
        Union of these targets, volume of the patient that receives the prescription, and the part of the former in
        the latter.
    half_isodose_cc : float
        Volume of the patient that receives half the prescription.
    conformity_index : float
        Paddick's: covered² / (targets × isodose), 1 at best, 0 where nothing is covered.
    conformity_index_95 : float
        The same with the isodose of 95 % of the prescription: the figure to read where the prescription is the median
        dose of the target (ICRU 83), of which the full isodose covers only half.
    gradient_index : float or None
        Paddick and Lippitz: half_isodose / isodose; smaller is steeper. None where nothing receives the prescription.
    """

    prescription_gy: float
    targets: tuple[str, ...]
    target_cc: float
    isodose_cc: float
    covered_cc: float
    half_isodose_cc: float
    conformity_index: float
    conformity_index_95: float
    gradient_index: float | None


@dataclass(frozen=True)
class PlanQuality:
    """Figures of a plan.

    Parameters
    ----------
    targets : tuple of TargetQuality
        Highest prescription first.
    levels : tuple of LevelQuality
        Highest first.
    integral_dose_gy_l : float
        Mean dose × volume (litres) of the patient outside all targets.
    integral_dose_j : float or None
        Energy imparted there, from dose × mass density; None where no density was given.
    judged_l, outside_grid_l : float
        Patient outside the targets within the dose grid, and patient beyond it: isodoses and integral dose know
        nothing of the latter.
    """

    targets: tuple[TargetQuality, ...]
    levels: tuple[LevelQuality, ...]
    integral_dose_gy_l: float
    integral_dose_j: float | None
    judged_l: float
    outside_grid_l: float


def plan_quality(
    course_dose_gy: Volume,
    structures: StructureSet,
    prescription_gy: Sequence[tuple[str, float]],
    *,
    mass_density: Volume | None = None,
) -> PlanQuality:
    """Compute the plan report numbers.

    Parameters
    ----------
    course_dose_gy : Volume
        Gy, on a grid along the LPS axes.
    structures : StructureSet
        With an EXTERNAL, which bounds isodose volumes and integral dose.
    prescription_gy : sequence of (str, float)
        Course dose of every target.
    mass_density : Volume, optional
        g/cm³ on any grid of the frame, for the energy in joule.

    Raises
    ------
    ProtocolError
        If no target is prescribed, a prescription is not positive, or a target is absent.
    StructureError
        If there is no EXTERNAL, or contours cannot be taken for a volume.
    """
    targets = sorted(prescription_gy, key=lambda item: -item[1])
    _check(targets, structures)
    external = structures.external()
    if external is None:
        raise StructureError(
            "isodose volumes need the patient's outline", found=", ".join(structures.names), expected="EXTERNAL"
        )
    body = dvh(external, course_dose_gy)
    union = _Targets(structures, [name for name, _ in targets])
    whole = {name: dvh(structures[name], course_dose_gy) for name, _ in targets}
    levels = []
    for level_gy in dict.fromkeys(dose for _, dose in targets):
        names = tuple(name for name, dose in targets if dose >= level_gy)
        inside = whole[names[0]] if len(names) == 1 else dvh(union.of(names), course_dose_gy)
        levels.append(_level(level_gy, names, inside, body))
    everything = dvh(union.of([name for name, _ in targets]), course_dose_gy)
    # The dose outside EXTERNAL is zero, so that what a target has there adds nothing.
    integral = (body.mean_gy * body.inside_cc - everything.mean_gy * everything.inside_cc) / 1000.0
    return PlanQuality(
        targets=tuple(_target(name, dose, targets, whole[name], union, course_dose_gy) for name, dose in targets),
        levels=tuple(levels),
        integral_dose_gy_l=max(integral, 0.0),
        integral_dose_j=(
            None
            if mass_density is None
            else _energy_j(course_dose_gy, structures, [n for n, _ in targets], mass_density)
        ),
        judged_l=max(body.inside_cc - everything.inside_cc, 0.0) / 1000.0,
        outside_grid_l=body.outside_cc / 1000.0,
    )


def _check(targets: Sequence[tuple[str, float]], structures: StructureSet) -> None:
    if not targets:
        raise ProtocolError("plan figures need a prescribed target", found="no prescription")
    for name, dose in targets:
        if name not in structures or structures[name].is_empty:
            raise ProtocolError(
                "the prescription names a structure without contours",
                found=", ".join(structures.names),
                expected=name,
            )
        if not (np.isfinite(dose) and dose > 0):
            raise ProtocolError("a prescription must be positive", found=f"{dose} Gy", where=name)


def _level(level_gy: float, names: tuple[str, ...], inside: DVH, body: DVH) -> LevelQuality:
    covered, isodose = _covered_and_isodose_cc(level_gy, inside, body)
    covered_95, isodose_95 = _covered_and_isodose_cc(0.95 * level_gy, inside, body)
    half = body.volume_at_dose_cc(0.5 * level_gy)
    return LevelQuality(
        prescription_gy=level_gy,
        targets=names,
        target_cc=inside.volume_cc,
        isodose_cc=isodose,
        covered_cc=covered,
        half_isodose_cc=half,
        conformity_index=_paddick(covered, inside.volume_cc, isodose),
        conformity_index_95=_paddick(covered_95, inside.volume_cc, isodose_95),
        gradient_index=half / isodose if isodose > 0 else None,
    )


def _covered_and_isodose_cc(dose_gy: float, inside: DVH, body: DVH) -> tuple[float, float]:
    covered = inside.volume_at_dose_cc(dose_gy)
    # A target that reaches beyond EXTERNAL, or is sampled more finely, must not hold more of an isodose than there is.
    return covered, max(body.volume_at_dose_cc(dose_gy), covered)


def _paddick(covered_cc: float, target_cc: float, isodose_cc: float) -> float:
    return covered_cc**2 / (target_cc * isodose_cc) if covered_cc > 0 else 0.0


def _target(
    name: str,
    dose_gy: float,
    targets: Sequence[tuple[str, float]],
    whole: DVH,
    union: _Targets,
    course_dose_gy: Volume,
) -> TargetQuality:
    d98, d95, d50, d2 = (whole.metric(f"D{percent}%[Gy]") for percent in (98, 95, 50, 2))
    higher = [other for other, dose in targets if dose > dose_gy]
    own: DVH | None = whole
    if higher:
        rest = union.of([name]).array - np.minimum(union.of([name]).array, union.of(higher).array)
        large_enough = float(rest.sum(dtype=np.float64)) * union.grid.voxel_volume_cc >= _LEAST_CC
        own = dvh(Volume(rest, union.grid), course_dose_gy) if large_enough else None
    return TargetQuality(name, dose_gy, whole.volume_cc, d98, d95, d50, d2, None if own is None else _homogeneity(own))


def _homogeneity(own: DVH) -> float | None:
    d98, d50, d2 = (own.metric(f"D{percent}%[Gy]") for percent in (98, 50, 2))
    return (d2 - d98) / d50 if d50 > 0 else None


class _Targets:
    """Masks of the targets and their unions on one fine grid."""

    def __init__(self, structures: StructureSet, names: Sequence[str]) -> None:
        points = np.concatenate([c.points_lps for name in names for c in structures[name].contours])
        # Beyond the last contours a slab reaches half a slice, of which contours alone say nothing: be generous.
        beyond = np.array([2.0, 2.0, 10.0])
        lower, upper = points.min(axis=0) - beyond, points.max(axis=0) + beyond
        spacing = max(_MASK_MM, float(np.cbrt(np.prod(upper - lower) / _MOST_VOXELS)))
        nx, ny, nz = (int(n) for n in np.ceil((upper - lower) / spacing))
        origin = lower + 0.5 * spacing
        self.grid = Grid((nz, ny, nx), (spacing,) * 3, (float(origin[0]), float(origin[1]), float(origin[2])))
        self._masks = {name: mask_from_structure(structures[name], self.grid).array for name in names}

    def of(self, names: Sequence[str]) -> Volume:
        """Union of some targets: the largest of their fractions."""
        union: NDArray[np.float32] = reduce(np.maximum, (self._masks[name] for name in names))
        return Volume(union, self.grid)


def _energy_j(course_dose_gy: Volume, structures: StructureSet, targets: Sequence[str], mass_density: Volume) -> float:
    """Sum of dose × density × volume over the patient outside the targets, by voxels of the dose grid."""
    grid = course_dose_gy.grid
    external = structures.external()
    assert external is not None
    share = mask_from_structure(external, grid).array.astype(np.float64)
    for name in targets:
        share = np.minimum(share, 1.0 - mask_from_structure(structures[name], grid).array)
    density = mass_density.resampled_to(grid, outside=0.0).array
    # Gy · g = mJ
    return float(np.sum(course_dose_gy.array * share * density)) * grid.voxel_volume_cc / 1000.0
