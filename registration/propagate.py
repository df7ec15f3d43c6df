"""Structures of the day by the rules of CLINICAL ("Targets and contours")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from imrt_core.geometry.margins import expand
from imrt_core.patient import DisplacementField, Grid, RigidTransform, Structure, StructureError, StructureSet, Volume
from imrt_core.patient.contours import contours_from_mask, mask_from_structure, structure_volume_cc

from .deformable import DeformableMatch
from .warp import PIXEL_MM, warp, warp_structure

Margin = float | Sequence[float]
#: Types that neither deform with the patient nor follow the bones: they belong to the room.
_ROOM_TYPES = ("SUPPORT", "FIXATION")
#: Structures that are points or marks, not anatomy.
_POINT_TYPES = ("ISOCENTER", "MARKER", "REGISTRATION", "CONTROL", "DOSE_MEASUREMENT")


@dataclass(frozen=True)
class PtvRule:
    """A PTV is its CTV plus a margin (and so may a planning-risk volume be, of its organ).

    Parameters
    ----------
    ptv, ctv : str
        Structure names.
    margin_mm : float or sequence of six floats
        As in :func:`imrt_core.geometry.margins.expand`: one number, or (left, right, anterior, posterior, superior,
        inferior).
    """

    ptv: str
    ctv: str
    margin_mm: Margin


@dataclass(frozen=True)
class PropagationRules:
    """How structures come to the day.

    Parameters
    ----------
    ptvs : tuple of PtvRule
        PTVs that are rebuilt from their CTV; other PTVs move rigidly and are so marked.
    deform_targets : tuple of str
        CTVs and GTVs that follow the deformation; all others follow rigidly.
    rigid_organs : tuple of str
        Other structures that follow rigidly all the same.
    max_target_loss_percent : float
        A target that loses more of its volume needs a person.
    """

    ptvs: tuple[PtvRule, ...] = ()
    deform_targets: tuple[str, ...] = ()
    rigid_organs: tuple[str, ...] = ()
    max_target_loss_percent: float = 5.0


@dataclass(frozen=True)
class PropagatedStructure:
    """How one structure came to the day.

    Parameters
    ----------
    name : str
        Of the structure.
    method : str
        ``"rigid"``, ``"deformable"``, ``"CTV of day + margin"``, or ``"rigid PTV"`` where the plan has no CTV for it.
    planned_volume_cc, day_volume_cc : float
        Volume of the contours; the day's is 0 where it left the grid.
    note : str
        What a person should know.
    reviewed : bool
        Always False here: a named approval comes later.
    """

    name: str
    method: str
    planned_volume_cc: float
    day_volume_cc: float
    note: str = ""
    reviewed: bool = False

    @property
    def change_percent(self) -> float:
        """Volume change, % of the planned volume."""
        return 100.0 * (self.day_volume_cc / self.planned_volume_cc - 1.0)


@dataclass(frozen=True, eq=False)
class DayStructures:
    """Structures in the frame of the day, before any shift; none is reviewed.

    Parameters
    ----------
    structures : StructureSet
        In the order of the plan; UNAPPROVED.
    rows : tuple of PropagatedStructure
        How each came to be.
    passed : bool
        Whether the volume rule holds and no target left the grid.
    reasons : tuple of str
        What does not hold.
    """

    structures: StructureSet
    rows: tuple[PropagatedStructure, ...]
    passed: bool
    reasons: tuple[str, ...]


def propagate_structures(
    structures: StructureSet,
    *,
    rigid: RigidTransform,
    deformable: DeformableMatch | None,
    rules: PropagationRules,
    like: Grid | None = None,
    frame_of_reference_uid: str = "",
    referenced_series_uid: str = "",
    slice_spacing_mm: float | None = None,
) -> DayStructures:
    """Carry the planning structures to the day.

    PTVs are never deformed: a PTV of the day is the CTV of the day plus the plan's margin, less what the planner cut
    from that (skin, another target); without a rule for it, it
    moves rigidly and is so marked. CTVs and GTVs follow rigidly, or deformably where the rules name them. Organs and
    EXTERNAL follow the deformation (rigidly without one). Structures of the room (SUPPORT, FIXATION) and points are
    left out.

    Parameters
    ----------
    structures : StructureSet
        Planning frame.
    rigid : RigidTransform
        moving_from_fixed of the rigid match.
    deformable : DeformableMatch or None
        None where it was withheld: everything then follows rigidly.
    rules : PropagationRules
        Margins and exceptions.
    like : Grid, optional
        Slices of the day to contour on; by default the grid of the deformable match.
    frame_of_reference_uid, referenced_series_uid : str
        Of the image of the day.
    slice_spacing_mm : float, optional
        Spacing of the planning slices, for structures on a single one.

    Raises
    ------
    StructureError
        If a rule names a structure that is missing or empty, or neither ``like`` nor a deformable match is given.
    """
    if like is None:
        if deformable is None:
            raise StructureError("structures need slices of the day to be drawn on", expected="like=")
        like = deformable.fixed_from_moving.grid
    _check_rules(structures, rules)
    day_from_plan: dict[str, Structure] = {}
    rows: dict[str, PropagatedStructure] = {}
    fixed_from_moving = rigid.inverse()
    rebuilt = {rule.ptv: rule for rule in rules.ptvs}
    kept = [s for s in structures if s.interpreted_type.upper() not in (*_ROOM_TYPES, *_POINT_TYPES)]
    for structure in kept:
        if structure.name in rebuilt or structure.is_empty:
            continue
        method, transform = _how(structure, rules, fixed_from_moving, deformable)
        moved = warp_structure(structure, transform, like=like, slice_spacing_mm=slice_spacing_mm)
        day_from_plan[structure.name] = moved
        note = "the plan has no CTV for it: moved rigidly, not rebuilt" if method == "rigid PTV" else ""
        rows[structure.name] = _row(structure, moved, method, note, slice_spacing_mm, like)
    for name, rule in rebuilt.items():
        cut = _cut_when_planned(structures[rule.ctv], structures[name], rule, like, slice_spacing_mm)
        grown = _grown(
            day_from_plan[rule.ctv], structures[name], rule, like, cut=cut, fixed_from_moving=fixed_from_moving
        )
        day_from_plan[name] = grown
        method = f"{rule.ctv} of day + {_margin_text(rule.margin_mm)}"
        rows[name] = _row(structures[name], grown, method, "", slice_spacing_mm, like)
    order = [s.name for s in kept if s.name in rows]
    reasons = _reasons(structures, rows, rules)
    return DayStructures(
        structures=StructureSet(
            tuple(day_from_plan[name] for name in order),
            frame_of_reference_uid=frame_of_reference_uid,
            referenced_series_uid=referenced_series_uid,
            label=structures.label,
            approval_status="UNAPPROVED",
        ),
        rows=tuple(rows[name] for name in order),
        passed=not reasons,
        reasons=reasons,
    )


def _check_rules(structures: StructureSet, rules: PropagationRules) -> None:
    names = [name for rule in rules.ptvs for name in (rule.ptv, rule.ctv)] + list(rules.deform_targets)
    for name in names:
        if structures[name].is_empty:
            raise StructureError(
                "a target without contours cannot be carried to the day", found="no contours", where=name
            )
    ptvs = {rule.ptv for rule in rules.ptvs}
    for name in (*rules.deform_targets, *(rule.ctv for rule in rules.ptvs)):
        if name in ptvs or structures[name].interpreted_type.upper() == "PTV":
            raise StructureError(
                "a PTV is neither deformed nor the source of a PTV",
                found=f"{name} ({structures[name].interpreted_type})",
                expected="a CTV or GTV",
            )


def _how(
    structure: Structure,
    rules: PropagationRules,
    fixed_from_moving: RigidTransform,
    deformable: DeformableMatch | None,
) -> tuple[str, RigidTransform | DisplacementField]:
    kind = structure.interpreted_type.upper()
    if kind == "PTV":
        return "rigid PTV", fixed_from_moving
    stiff = structure.name in rules.rigid_organs
    if deformable is None or stiff or (kind in ("CTV", "GTV") and structure.name not in rules.deform_targets):
        return "rigid", fixed_from_moving
    return "deformable", deformable.fixed_from_moving


def _grown(
    ctv: Structure,
    ptv: Structure,
    rule: PtvRule,
    like: Grid,
    *,
    cut: Volume | None,
    fixed_from_moving: RigidTransform,
) -> Structure:
    """Return the PTV of the day on the day's slices."""
    if ctv.is_empty:
        return Structure(ptv.name, (), ptv.number, ptv.interpreted_type, ptv.color_rgb)
    mask = mask_from_structure(ctv, _around(ctv, rule.margin_mm, like), slice_spacing_mm=like.spacing_mm[2])
    grown = expand(mask, rule.margin_mm)
    if cut is not None:
        moved = warp(cut, fixed_from_moving, like=grown.grid)
        grown = grown.with_array(np.clip(grown.array - moved.array, 0.0, 1.0).astype(np.float32))
    return Structure(ptv.name, contours_from_mask(grown), ptv.number, ptv.interpreted_type, ptv.color_rgb)


def _cut_when_planned(
    ctv: Structure, ptv: Structure, rule: PtvRule, like: Grid, slice_spacing_mm: float | None
) -> Volume | None:
    """Return what the planner cut from CTV + margin (skin, another target), planning frame; None where nothing was.

    The PTV of the day is made as the plan's was, so the same is cut from it, carried along rigidly. Shells thinner than
    about 2 mm are rounding of contours and margins, not cuts.
    """
    if ptv.interpreted_type.upper() != "PTV":
        return None
    grid = _around(ctv, rule.margin_mm, like)
    grown = expand(mask_from_structure(ctv, grid, slice_spacing_mm=slice_spacing_mm), rule.margin_mm)
    planned = mask_from_structure(ptv, grid, slice_spacing_mm=slice_spacing_mm)
    in_plane = ndimage.generate_binary_structure(2, 1)[None]
    cut = ndimage.binary_opening(grown.array - planned.array >= 0.5, structure=in_plane)
    return grown.with_array(cut.astype(np.float32)) if cut.any() else None


def _around(structure: Structure, margin_mm: Margin, like: Grid) -> Grid:
    """Return a grid on the slices of ``like``, continued beyond it if need be, with room for the margin."""
    margin = float(margin_mm) if isinstance(margin_mm, int | float) else max(float(m) for m in margin_mm)
    lower = [min(c.points_lps[:, a].min() for c in structure.contours) - margin - 3.0 for a in range(3)]
    upper = [max(c.points_lps[:, a].max() for c in structure.contours) + margin + 3.0 for a in range(3)]
    step = (PIXEL_MM, PIXEL_MM, like.spacing_mm[2])
    z0 = like.origin_lps[2]
    first = int((lower[2] - z0) // step[2])
    last = int((upper[2] - z0) // step[2]) + 1
    nx, ny = (int((upper[a] - lower[a]) / PIXEL_MM) + 1 for a in (0, 1))
    return Grid((last - first + 1, ny, nx), step, (lower[0], lower[1], z0 + first * step[2]))


def _row(
    planned: Structure, day: Structure, method: str, note: str, slice_spacing_mm: float | None, like: Grid
) -> PropagatedStructure:
    volume = 0.0 if day.is_empty else structure_volume_cc(day, slice_spacing_mm=like.spacing_mm[2])
    return PropagatedStructure(
        name=planned.name,
        method=method,
        planned_volume_cc=structure_volume_cc(planned, slice_spacing_mm=slice_spacing_mm),
        day_volume_cc=volume,
        note=note or ("outside the slices of the day" if day.is_empty else ""),
    )


def _margin_text(margin_mm: Margin) -> str:
    sides = [float(margin_mm)] if isinstance(margin_mm, int | float) else [float(m) for m in margin_mm]
    return "/".join(f"{side:g}" for side in (sides if len(set(sides)) > 1 else sides[:1])) + " mm"


def _reasons(
    structures: StructureSet, rows: dict[str, PropagatedStructure], rules: PropagationRules
) -> tuple[str, ...]:
    reasons = []
    for name, row in rows.items():
        if not structures[name].is_target:
            continue
        if row.day_volume_cc == 0.0:
            reasons.append(f"target {name} lies outside the slices of the day")
        elif structures[name].interpreted_type.upper() != "PTV" and row.change_percent < -rules.max_target_loss_percent:
            reasons.append(
                f"{name} loses {-row.change_percent:.1f} % of its volume, limit {rules.max_target_loss_percent:g} %"
            )
    return tuple(reasons)
