"""From the names in an RTSTRUCT to the names of a protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from imrt_core.geometry.made_structures import makeable
from imrt_core.patient import Goal, ProtocolError, Structure, StructureError, StructureSet

from .protocol import Protocol, normalised


@dataclass(frozen=True)
class MatchedStructures:
    """A structure set in the protocol's names; what the protocol makes counts as there if it can be made.

    Parameters
    ----------
    roi_names : mapping of str to str
        Protocol name to the name in the file.
    prescription_gy : mapping of str to float
        The levels whose targets are there.
    goals : tuple of Goal
        Those whose structure is there (or is derived from one that is).
    not_applicable : tuple of str
        One sentence for each goal or target left out because its structure is absent.
    """

    roi_names: Mapping[str, str]
    prescription_gy: Mapping[str, float]
    goals: tuple[Goal, ...]
    not_applicable: tuple[str, ...]


def match_structures(protocol: Protocol, structures: StructureSet) -> MatchedStructures:
    """Find the protocol's structures in a structure set and decide which goals apply.

    Raises
    ------
    ProtocolError
        If a required target or goal names a structure that is not there.
    StructureError
        If two regions answer to one name and neither has it exactly, or one that is needed has no contour.
    """
    names = {name: roi for name in protocol.structure_names if (roi := _find(protocol, name, structures))}
    derived = {recipe.name for recipe in makeable(protocol.recipes, names)}
    there = names.keys() | derived
    absent: list[str] = []
    for target in protocol.targets:
        if target.name not in there:
            if target.presence == "required":
                raise _missing(protocol, structures, target.name, f"target {target.name} of {target.dose_gy:g} Gy")
            absent.append(f"target {target.name} ({target.dose_gy:g} Gy) not applicable: structure absent")
    goals: list[Goal] = []
    for rule in protocol.goals:
        goal = rule.parsed
        if goal.structure in there:
            goals.append(goal)
        elif rule.presence == "required" and goal.structure not in _optional_targets(protocol):
            raise _missing(protocol, structures, goal.structure, f"goal {goal}")
        else:
            absent.append(f"goal {goal} not applicable: structure absent")
    for name, roi in names.items():
        if structures[roi].is_empty:
            raise StructureError(
                "a structure that the protocol names is empty",
                found=f"'{roi}' without contours",
                expected="closed contours",
                where=f"{name} of protocol {protocol.name}",
                code="structure-empty",
            )
    return MatchedStructures(
        roi_names=names,
        prescription_gy={t.name: t.dose_gy for t in protocol.targets if t.name in there},
        goals=tuple(goals),
        not_applicable=tuple(absent),
    )


def without(matched: MatchedStructures, protocol: Protocol, empty: Collection[str]) -> MatchedStructures:
    """Leave out goals of made structures that turned out empty for this patient.

    Raises
    ------
    StructureError
        If a target or a required goal names one.
    """
    optional = {r.parsed for r in protocol.goals if r.presence != "required"} if empty else set()
    needed = [name for name in matched.prescription_gy if name in empty]
    needed += [goal.structure for goal in matched.goals if goal.structure in empty and goal not in optional]
    if needed:
        raise StructureError(
            "a structure that the protocol makes and needs is empty for this patient",
            found=", ".join(dict.fromkeys(needed)),
            expected="a structure of two slices or more",
            where=f"protocol {protocol.name}",
            code="structure-empty",
        )
    dropped = [goal for goal in matched.goals if goal.structure in empty]
    return replace(
        matched,
        goals=tuple(goal for goal in matched.goals if goal not in dropped),
        not_applicable=(*matched.not_applicable, *(f"goal {g} not applicable: structure empty" for g in dropped)),
    )


def renamed(structures: StructureSet, roi_names: Mapping[str, str]) -> StructureSet:
    """Return the set with the protocol's names; regions that the protocol does not know keep theirs.

    Raises
    ------
    StructureError
        If a region that is not matched already bears a name of the protocol.
    """
    protocol_names = {roi: name for name, roi in roi_names.items()}

    def rename(structure: Structure) -> Structure:
        return replace(structure, name=protocol_names.get(structure.name, structure.name))

    return replace(structures, structures=tuple(rename(s) for s in structures))


def _find(protocol: Protocol, name: str, structures: StructureSet) -> str | None:
    if name in structures:
        return name
    wanted = {normalised(text) for text in (name, *protocol.aliases_of(name))}
    found = [roi for roi in structures.names if normalised(roi) in wanted]
    if len(found) > 1:
        raise StructureError(
            f"more than one region answers to {name}",
            found=", ".join(found),
            expected=f"one, or one called exactly {name}",
            where=f"protocol {protocol.name}",
            code="structure-ambiguous",
        )
    return found[0] if found else None


def _optional_targets(protocol: Protocol) -> set[str]:
    return {n for t in protocol.targets if t.presence == "where-present" for n in (t.name, t.ctv) if n}


def _missing(protocol: Protocol, structures: StructureSet, name: str, needed_by: str) -> ProtocolError:
    aliases = protocol.aliases_of(name)
    return ProtocolError(
        f"the protocol names a structure that does not exist: {name}",
        found=", ".join(structures.names) or "no structures",
        expected=name + (f" (or {', '.join(aliases)})" if aliases else ""),
        where=f"{needed_by}, protocol {protocol.name}",
        code="structure-missing",
    )
