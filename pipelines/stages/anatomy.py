"""Anatomy of the day: deformation, structures, density, and what changed since planning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imrt_core.density import density_of, external_mask
from imrt_core.evaluate.body_contour import ContourChange, contour_change
from imrt_core.geometry.made_structures import make_structures
from imrt_core.machine import Machine
from imrt_core.patient import Goal, Grid, InputRefusedError, Structure, Volume
from imrt_core.patient.contours import mask_from_structure, structure_volume_cc
from registration import (
    DayStructures,
    DeformableMatch,
    DensityMethod,
    PropagatedStructure,
    PropagationRules,
    PtvRule,
    RigidMatch,
    day_grid,
    hu_of_day,
    propagate_structures,
    register_deformable,
    warp,
)
from registration.preprocess import body_mask, field_of_view

from ..course_record import CourseRecord
from ..protocol import Protocol
from ..protocol_structures import MADE_TYPE, SidesRule, StructureRule
from ..results import DayDensity, DayImage, Planning, Withheld

#: A hard-limit organ must be in the image where the plan gives it this share of its limit.
_DOSE_SHARE = 0.5
#: This share of a target's contour points may miss the field of view: noise of its edge.
_MISSING_SHARE = 0.002
#: Voxels on which the body contour is compared.
_CONTOUR_GRID_MM = (2.0, 2.0, 4.0)


def deformation_of_day(planning: Planning, image: DayImage, match: RigidMatch) -> DeformableMatch | Withheld:
    """Register deformably from the rigid match; not after a match that failed."""
    if not match.quality.passed:
        return Withheld("the rigid match failed its quality limits: " + "; ".join(match.quality.reasons))
    data = planning.data
    external = data.structures.external()
    body = mask_from_structure(external, data.ct.hu.grid) if external is not None else None
    try:
        return register_deformable(data.ct.hu, image.image.hu, initial=match.moving_from_fixed, fixed_body=body)
    except InputRefusedError as error:
        return Withheld(str(error))


def propagation_rules(planning: Planning, protocol: Protocol) -> PropagationRules:
    """Return how the protocol wants structures carried to the day.

    PTV of day = CTV of day + the plan's margin. Where the CTV follows rigidly that is the planned PTV moved with it,
    the planner's own margin and cropping included, so it is not grown anew; a PTV whose CTV deforms is. Planning-risk
    volumes are the organ of the day + their margin. What the protocol marks rigid or deformable follows so.
    """
    drawn = {s.name: s for s in planning.data.structures if not s.is_empty}
    wish = {name: rule.propagate for name, rule in protocol.structures.items() if name in drawn}
    deformed = [n for n, how in wish.items() if how == "deformable" and drawn[n].is_target]
    rebuilt = [
        PtvRule(target.name, target.ctv, target.margin_mm)
        for target in protocol.targets
        if target.ctv in deformed and target.name in drawn
    ]
    rebuilt += [
        PtvRule(name, rule.prv_of, rule.margin.by_side_mm if isinstance(rule.margin_mm, SidesRule) else rule.margin_mm)
        for name, rule in protocol.structures.items()
        if _is_prv(rule) and rule.prv_of in drawn and name in drawn
    ]
    return PropagationRules(
        ptvs=tuple(rebuilt),
        deform_targets=tuple(deformed),
        rigid_organs=tuple(n for n, how in wish.items() if how == "rigid" and not drawn[n].is_target),
        max_target_loss_percent=protocol.decision.ctv_volume_loss_percent,
    )


def structures_of_day(
    planning: Planning,
    image: DayImage,
    match: RigidMatch,
    deformation: DeformableMatch | Withheld,
    protocol: Protocol,
) -> DayStructures | Withheld:
    """Carry the planning structures to the day; not after a match that failed."""
    if not match.quality.passed:
        return Withheld("the rigid match failed its quality limits: " + "; ".join(match.quality.reasons))
    grid = grid_of_day(planning, match, deformation)
    try:
        day = propagate_structures(
            planning.data.structures,
            rigid=match.moving_from_fixed,
            deformable=None if isinstance(deformation, Withheld) else deformation,
            rules=propagation_rules(planning, protocol),
            like=grid,
            frame_of_reference_uid=image.image.frame_of_reference_uid,
            referenced_series_uid=image.image.series_uid,
        )
    except InputRefusedError as error:
        return Withheld(str(error))
    drawn = planning.data.structures.names
    ctvs = {target.name: target.ctv for target in protocol.targets if target.ctv in drawn}
    risk = {name for name, rule in protocol.structures.items() if _is_prv(rule)}
    day = _made_anew(day, planning, protocol, grid)
    return replace(
        day,
        rows=tuple(_named_margin(row, ctvs.get(row.name)) for row in day.rows),
        structures=replace(
            day.structures,
            structures=tuple(_within(s, grid) if s.name in risk else s for s in day.structures),
        ),
    )


def _is_prv(rule: StructureRule) -> bool:
    return rule.prv_of is not None and not rule.yields_to


def _made_anew(day: DayStructures, planning: Planning, protocol: Protocol, grid: Grid) -> DayStructures:
    """Make of the day's structures what was made of the planned ones; targets and planning-risk volumes have rules."""
    risk = {name for name, rule in protocol.structures.items() if _is_prv(rule)}
    anew = [
        recipe
        for recipe in protocol.recipes
        if recipe.name in planning.derived and recipe.name not in risk and recipe.interpreted_type == MADE_TYPE
    ]
    if not anew:
        return day
    names = {recipe.name for recipe in anew}
    others = replace(day.structures, structures=tuple(s for s in day.structures if s.name not in names))
    made = {s.name: s for s in make_structures(anew, others, grid).structures}

    def today(structure: Structure) -> Structure:
        new = made.get(structure.name, replace(structure, contours=()))
        return replace(new, number=structure.number)

    volumes = {name: structure_volume_cc(s) for name, s in made.items()}
    return replace(
        day,
        structures=replace(
            day.structures, structures=tuple(today(s) if s.name in names else s for s in day.structures)
        ),
        rows=tuple(
            replace(row, method="made of today's structures", day_volume_cc=volumes.get(row.name, 0.0), note="")
            if row.name in names
            else row
            for row in day.rows
        ),
    )


def _named_margin(row: PropagatedStructure, ctv: str | None) -> PropagatedStructure:
    """Say of a PTV that moved with its rigid CTV what it is."""
    if ctv is None or row.method != "rigid PTV":
        return row
    return replace(row, method=f"{ctv} of day + the plan's margin", note="")


def _within(structure: Structure, grid: Grid) -> Structure:
    """Cut a planning-risk volume at the image's ends, as the organ is; its margin must not stand out of the dose."""
    index = [grid.to_index(contour.points_lps[0])[2] for contour in structure.contours]
    kept = (c for c, k in zip(structure.contours, index, strict=True) if -0.5 <= k <= grid.shape[0] - 0.5)
    return replace(structure, contours=tuple(kept))


def grid_of_day(planning: Planning, match: RigidMatch, deformation: DeformableMatch | Withheld) -> Grid:
    """Return the grid that structures and HU of the day live on, day frame."""
    if not isinstance(deformation, Withheld):
        return deformation.fixed_from_moving.grid
    grid = planning.data.ct.hu.grid
    x, y, z = grid.spacing_mm
    return day_grid(grid, match.moving_from_fixed, spacing_mm=(max(x, 2.0), max(y, 2.0), z))


def density_of_day(
    planning: Planning,
    image: DayImage,
    match: RigidMatch,
    deformation: DeformableMatch | Withheld,
    structures: DayStructures | Withheld,
    machine: Machine,
    *,
    method: DensityMethod = DensityMethod.DEFORMED_PLAN,
) -> DayDensity | Withheld:
    """Find HU of today's anatomy and turn them into electron density; air outside the body of today.

    The curve is that of the planning CT, whose scale the HU of the day have.
    """
    if isinstance(structures, Withheld):
        return structures
    data = planning.data
    grid = grid_of_day(planning, match, deformation)
    used = match.moving_from_fixed if isinstance(deformation, Withheld) else deformation
    try:
        found = hu_of_day(data.ct.hu, image.image.hu, match=used, grid=grid, method=method)
        curve = machine.density_curve(data.ct.scanner)
        result = density_of(
            found.hu,
            structures.structures,
            curve,
            body=_body_of_day(found.hu, structures),
            couch=machine.couch,
            patient_position=image.image.patient_position,
            isocentre_lps=_isocentre_of_day(planning, match),
        )
    except InputRefusedError as error:
        return Withheld(str(error))
    return DayDensity(
        hu=found.hu,
        red=result.red,
        method=found.method,
        curve=curve.name,
        passed=found.passed,
        reasons=found.reasons,
        fat_error_hu=found.fat_error_hu,
        muscle_error_hu=found.muscle_error_hu,
        figures={
            "image covers of the body, %": 100 * found.fov_coverage,
            "gas added, cc": found.gas_added_cc,
            "gas removed, cc": found.gas_removed_cc,
            "skin added, cc": found.skin_added_cc,
            "skin removed, cc": found.skin_removed_cc,
        },
        contour=_body_change(planning, image, match, found.hu),
        warnings=result.warnings,
    )


def _isocentre_of_day(planning: Planning, match: RigidMatch) -> tuple[float, float, float] | None:
    """Return where the planned isocentre lies in the anatomy of today, day frame; None without a received plan."""
    if planning.data.plan is None:
        return None
    x, y, z = match.moving_from_fixed.apply(np.array(planning.data.plan.isocentre_lps))
    return float(x), float(y), float(z)


def _body_of_day(hu: Volume, structures: DayStructures) -> Volume:
    """EXTERNAL of the day, with what today's image adds to it (swelling, posture); the CT's table is in neither."""
    body = external_mask(hu).astype(np.float32)
    external = structures.structures.external()
    if external is not None:
        body = np.maximum(body, mask_from_structure(external, hu.grid).array)
    return hu.with_array(body)


def _body_change(planning: Planning, image: DayImage, match: RigidMatch, today_hu: Volume) -> ContourChange | None:
    """Compare the body of today, pulled back by the rigid match, with that of the planning CT; the same threshold."""
    hu = planning.data.ct.hu
    grid = hu.grid.resampled(_CONTOUR_GRID_MM)
    seen = image.image.hu.with_array(field_of_view(image.image.hu).astype(np.float32))
    back = match.moving_from_fixed
    today = today_hu.with_array(body_mask(today_hu).astype(np.float32))
    planned = hu.with_array(body_mask(hu).astype(np.float32)).resampled_to(grid)
    try:
        return contour_change(planned, warp(today, back, like=grid), seen=warp(seen, back, like=grid))
    except InputRefusedError:
        return None  # the report says that there is no figure, and the decision takes it as a failed check


def outside_image(
    planning: Planning,
    course: CourseRecord,
    protocol: Protocol,
    image: DayImage,
    match: RigidMatch,
    planned_course_gy: Volume,
) -> tuple[str, ...]:
    """Return targets, and organs with a hard limit, that the image of the day does not wholly show.

    An organ that runs through the whole CT counts where the plan gives it at least half of its limit.
    """
    drawn = planning.data.structures
    targets = {name for target in protocol.targets for name in (target.name, target.ctv) if name}
    limits = {g.structure: g.limit for g in map(Goal.parse, course.goals) if g.hard and g.metric.unit == "Gy"}
    seen = image.image.hu.with_array(field_of_view(image.image.hu).astype(np.float32))
    found = []
    for structure in drawn:
        if structure.is_empty or not (structure.name in targets or structure.name in limits):
            continue
        points = np.concatenate([contour.points_lps for contour in structure.contours])
        if structure.name not in targets:
            dose = planned_course_gy.sample(points, outside=0.0)
            points = points[dose >= _DOSE_SHARE * limits[structure.name]]
        if len(points) == 0:
            continue
        shown = seen.sample(match.moving_from_fixed.apply(points), order=0, outside=0.0) > 0.5
        if float(np.mean(~shown)) > _MISSING_SHARE:
            found.append(structure.name)
    return tuple(found)


def ctv_changes(planning: Planning, structures: DayStructures | Withheld) -> tuple[tuple[str, float], ...]:
    """Return the change of volume of every CTV, in percent of the planned one."""
    if isinstance(structures, Withheld):
        return ()
    kinds = {s.name: s.interpreted_type.upper() for s in planning.data.structures}
    return tuple((row.name, row.change_percent) for row in structures.rows if kinds.get(row.name) == "CTV")


def volumes_cc(structures: DayStructures) -> dict[str, float]:
    """Return the volume of every structure of the day."""
    return {row.name: row.day_volume_cc for row in structures.rows}
