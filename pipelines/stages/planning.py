"""Planning objects in the protocol's names, with what must be derived from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imrt_core.density import contour_external
from imrt_core.dicom import read_course
from imrt_core.geometry.made_structures import make_structures
from imrt_core.patient import IdentityError, PatientImage, PlanningData, Structure, StructureSet

from ..protocol import Protocol
from ..results import Planning
from ..structure_names import MatchedStructures, match_structures, renamed, without

EXTERNAL = "External"


def read_planning(folder: Path, protocol: Protocol) -> tuple[Planning, MatchedStructures]:
    """Read a course folder and bring it into the protocol's names.

    Raises
    ------
    InputRefusedError
        If the objects do not belong together, or the protocol's structures are absent, ambiguous or empty.
    """
    data = read_course(folder)
    matched = match_structures(protocol, data.structures)
    planning = with_derived(replace(data, structures=renamed(data.structures, matched.roi_names)), protocol)
    return planning, without(matched, protocol, planning.empty)


def with_derived(data: PlanningData, protocol: Protocol) -> Planning:
    """Add EXTERNAL and what the protocol makes where it is not contoured, and the protocol's density overrides."""
    made: list[Structure] = []
    notes: list[str] = []
    overridden = tuple(_with_density(s, protocol, notes) for s in data.structures)
    data = replace(data, structures=replace(data.structures, structures=overridden))
    external = data.structures.external()
    if external is None:
        external = contoured_external(data.ct, data.structures)
        made.append(external)
        notes.append(f"{external.name} was not contoured; it was contoured here by threshold and is unreviewed.")
    numbers = [s.number for s in data.structures]
    made = [replace(s, number=max(numbers, default=0) + 1) for s in made]
    data = replace(data, structures=replace(data.structures, structures=(*data.structures, *made)))
    result = make_structures(protocol.recipes, data.structures, data.ct.hu.grid)
    notes += [f"{recipe.name} was made here: {recipe}." for recipe in result.recipes]
    notes += [f"{recipe.name} is empty for this patient: {recipe}." for recipe in result.empty]
    notes += [f"{text}." for text in result.warnings]
    structures = replace(data.structures, structures=(*data.structures, *result.structures))
    return Planning(
        replace(data, structures=structures),
        tuple(s.name for s in (*made, *result.structures)),
        tuple(notes),
        tuple(recipe.name for recipe in result.empty),
    )


def _with_density(structure: Structure, protocol: Protocol, notes: list[str]) -> Structure:
    """Give a structure the density of the protocol, unless the structure set has one."""
    rule = protocol.structures.get(structure.name)
    given = (structure.relative_electron_density, structure.relative_mass_density)
    if rule is None or given != (None, None):
        return structure
    wanted = (rule.relative_electron_density, rule.relative_mass_density)
    if wanted == (None, None):
        return structure
    notes.append(f"The density of {structure.name} is the protocol's, not the image's.")
    return replace(structure, relative_electron_density=wanted[0], relative_mass_density=wanted[1])


def contoured_external(ct: PatientImage, structures: StructureSet) -> Structure:
    """Contour the body by threshold; its description says so."""
    name = EXTERNAL if EXTERNAL not in structures else f"{EXTERNAL}_igrt"
    return contour_external(ct.hu, name=name).structure


def planning_position(data: PlanningData, *, option: str | None = None) -> str | None:
    """Return how the patient lay for planning: from the CT, else RTPLAN's patient setup, else the option.

    Raises
    ------
    IdentityError
        If two of them contradict one another. Absent everywhere gives None: never assumed.
    """
    stated = {
        "planning CT": data.ct.patient_position,
        "RTPLAN patient setup": data.plan.patient_position if data.plan else None,
        "option": option,
    }
    found = {source: position for source, position in stated.items() if position}
    if len(set(found.values())) > 1:
        raise IdentityError(
            "the patient position is contradictory",
            found=", ".join(f"{position} ({source})" for source, position in found.items()),
            expected="one position",
            code="position-contradictory",
        )
    return next(iter(found.values()), None)
