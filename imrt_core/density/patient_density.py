"""From an image and its structures to the densities that dose is computed on, with all that a person must know."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import Couch, DensityCurve, mass_density, relative_electron_density
from imrt_core.machine.density import ABOVE_TOLERANCE_HU
from imrt_core.patient import MachineError, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure

from .couch import couch_overlap_cc, insert_couch
from .external import NAME, contour_external
from .metal import MetalFinding, find_metal, metal_threshold_hu
from .metals import UNKNOWN, metal_named
from .overrides import (
    DensityOverride,
    absent_from_image,
    apply_overrides,
    kept_mask,
    overrides_of,
    structure_mask,
)
from .streaks import SOFT_TISSUE, find_streaks

#: A drawn support that shares this much with the couch is the couch.
_SAME_COUCH_CC = 10.0


@dataclass(frozen=True, eq=False)
class DensityResult:
    """Densities of a patient on the treatment table.

    Parameters
    ----------
    red : Volume
        Electron density relative to water, float32. Larger than the image where the couch needs it.
    mass : Volume
        Mass density in g/cm³, float32, the same grid.
    external : Structure
        EXTERNAL: as drawn, or contoured here.
    external_contoured : bool
        Whether it was contoured here.
    warnings : tuple of str
        For the report.
    metal : tuple of MetalFinding
        Pieces of metal, largest first.
    metal_mask : Volume or None
        1 in metal, on the image's grid: for :func:`imrt_core.density.beams_through_metal`; None without metal.
    """

    red: Volume
    mass: Volume
    external: Structure
    external_contoured: bool
    warnings: tuple[str, ...]
    metal: tuple[MetalFinding, ...] = ()
    metal_mask: Volume | None = None


def density_of(
    hu: Volume,
    structures: StructureSet,
    curve: DensityCurve,
    *,
    body: Volume | None = None,
    couch: Couch | None = None,
    patient_position: str | None = None,
    isocentre_lps: tuple[float, float, float] | None = None,
    overrides: tuple[DensityOverride, ...] = (),
    metal: str | None = None,
    extend: bool = True,
) -> DensityResult:
    """Turn an image into densities, in this order (what comes later wins).

    1. The curve. Up to 100 HU above its end its last density holds, and above that for saturated specks that are too
       small for a piece of metal (counted in a warning); everything else beyond it is refused.
    2. Air outside EXTERNAL, supports, fixation and bolus: the scanner's table is gone. EXTERNAL is contoured where it
       is missing.
    3. Metal from saturated voxels at its declared density, its streaks at that of soft tissue.
    4. Overrides: those in the structure set, then ``overrides``.
    5. The couch, unless a drawn support stands where it would be.

    Parameters
    ----------
    hu : Volume
        Hounsfield units on transverse slices.
    structures : StructureSet
        In the image's frame.
    curve : DensityCurve
        Of the scanner and imager.
    body : Volume or None
        Fractions of the patient on the image's grid, in place of EXTERNAL's contours (e.g. with what the image of the
        day adds to them).
    couch : Couch or None
        From the machine file; needs ``patient_position``.
    patient_position : str or None
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    isocentre_lps : tuple of float or None
        Where a couch is declared relative to it.
    overrides : tuple of DensityOverride
        E.g. of the protocol.
    metal : str or None
        Name in :data:`imrt_core.density.METALS` of the patient's metal; None where nobody said.
    extend : bool
        Whether the grid may grow to hold the couch.

    Raises
    ------
    MachineError
        If an HU in the patient has no density: NaN, infinite, or beyond the curve and not metal. The message names it
        and where it is. If the metal is unknown.
    StructureError
        If there is no body, or an override names no structure.
    GeometryError
        If a couch cannot be placed.
    """
    warnings: list[str] = []
    external, mask, contoured = _external(hu, structures, warnings)
    if body is not None:
        mask = body
    patient = kept_mask(structures, mask)
    red = relative_electron_density(hu, curve, external=patient, saturate=True)
    mass = mass_density(hu, curve, external=patient, saturate=True)
    named = metal_named(metal) if metal else UNKNOWN
    findings, metallic = find_metal(hu, curve, inside=mask, metal=named, declared=metal is not None)
    _check_beyond(hu, curve, metallic, patient, warnings)
    if findings:
        streaks = find_streaks(hu, metallic, inside=mask)
        red, mass = (
            volume.with_array(np.where(metallic, of_metal, np.where(streaks, soft, volume.array)).astype(np.float32))
            for volume, of_metal, soft in (
                (red, named.relative_electron_density, SOFT_TISSUE[0]),
                (mass, named.mass_density, SOFT_TISSUE[1]),
            )
        )
        streak_cc = float(streaks.sum()) * hu.grid.voxel_volume_cc
        findings = tuple(replace(finding, streak_cc=streak_cc) for finding in findings)
        warnings += [line for finding in findings for line in finding.warnings()]
    given = (*overrides_of(structures, curve), *overrides)
    red, mass, lines = apply_overrides(red, mass, structures, given)
    warnings += lines
    warnings += absent_from_image(structures, red, {o.structure for o in given})
    if couch is not None:
        red, mass = _with_couch(
            red, mass, couch, patient, structures, patient_position, isocentre_lps, extend, warnings
        )
    return DensityResult(
        red=red,
        mass=mass,
        external=external,
        external_contoured=contoured,
        warnings=tuple(warnings),
        metal=findings,
        metal_mask=hu.with_array(metallic.astype(np.float32)) if findings else None,
    )


def _external(hu: Volume, structures: StructureSet, warnings: list[str]) -> tuple[Structure, Volume, bool]:
    drawn = structures.external()
    if drawn is not None:
        return drawn, mask_from_structure(drawn, hu.grid), False
    made = contour_external(hu, name=NAME if NAME not in structures else f"{NAME}_igrt")
    warnings.append(
        f"{made.structure.name} was not contoured; it was contoured here by threshold ({made.volume_cc:.0f} cc) and is "
        "unreviewed"
    )
    return made.structure, made.mask, True


def _check_beyond(
    hu: Volume, curve: DensityCurve, metallic: NDArray[np.bool_], patient: Volume, warnings: list[str]
) -> None:
    """Refuse HU without a density, and count those that take the last one."""
    top = curve.points[-1][0]
    values = np.where((patient.array >= 0.5) & ~metallic, hu.array, -np.inf)
    highest = float(values.max())
    if not highest > top:
        return
    refused = (values > top + ABOVE_TOLERANCE_HU) & (values < metal_threshold_hu(curve))
    worst = refused if refused.any() else values > top
    k, j, i = np.unravel_index(int(np.argmax(np.where(worst, values, -np.inf))), values.shape)
    x, y, z = hu.grid.to_lps((float(i), float(j), float(k)))
    place = f"{values[k, j, i]:.0f} HU at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm"
    if refused.any():
        raise MachineError(
            "there is no density for an HU beyond the curve",
            found=f"{place} and {int(refused.sum()) - 1} voxels more",
            expected=f"at most {top:g} HU (curve {curve.name})",
            where="HU volume",
            code="no-density",
        )
    warnings.append(
        f"{int(worst.sum())} voxels above the density curve ({top:g} HU) took its last density, the highest {place}"
    )


def _with_couch(
    red: Volume,
    mass: Volume,
    couch: Couch,
    patient: Volume,
    structures: StructureSet,
    patient_position: str | None,
    isocentre_lps: tuple[float, float, float] | None,
    extend: bool,
    warnings: list[str],
) -> tuple[Volume, Volume]:
    if patient_position is None:
        warnings.append(f"the couch {couch.name} was not inserted: the patient position is unknown")
        return red, mass
    if couch.below_isocentre_mm is not None and isocentre_lps is None:
        warnings.append(f"the couch {couch.name} was not inserted: it is declared relative to an isocentre")
        return red, mass
    for structure in structures:
        if structure.interpreted_type.upper() != "SUPPORT" or structure.is_empty:
            continue
        drawn = structure_mask(structures, structure.name, red.grid)
        if drawn is None:
            continue
        lying = patient.with_array(np.where(drawn.array >= 0.5, 0.0, patient.array))
        shared_cc = couch_overlap_cc(
            couch, drawn, patient=lying, patient_position=patient_position, isocentre_lps=isocentre_lps
        )
        if shared_cc > _SAME_COUCH_CC:
            warnings.append(
                f"the couch {couch.name} was not inserted: {structure.name} (SUPPORT) stands there, {shared_cc:.0f} cc"
            )
            return red, mass
    made = insert_couch(
        red,
        mass,
        couch,
        patient=patient,
        patient_position=patient_position,
        isocentre_lps=isocentre_lps,
        extend=extend,
    )
    position = (
        "under EXTERNAL" if couch.below_isocentre_mm is None else f"{couch.below_isocentre_mm:g} mm below the isocentre"
    )
    warnings.append(
        f"couch {couch.name} inserted {position}: {couch.thickness_mm:g} mm thick, "
        f"{couch.water_equivalent_mm:.1f} mm of water"
    )
    warnings += made.warnings
    return made.red, made.mass
