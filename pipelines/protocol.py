"""Clinical protocols: prescription, goals, names, margins, beams, triggers and limits of one site, from YAML.

Written by a department, read by every stage, never changed by the program. Format version 1; older versions are
migrated on reading by one function per step (:data:`_MIGRATIONS`), newer ones are refused.

What happens where a patient lacks a structure (CLINICAL, "goals that name no structure"):

- ``required`` (the default of every target and goal): the course is refused;
- ``where-present``: the goal is listed as not applicable, in words, and the course goes on. Only a goal that is not
  hard may say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from imrt_core.evaluate.policy import Policy
from imrt_core.geometry.made_structures import StructureRecipe, makeable
from imrt_core.optimize.objectives import Objective, objective_of_kind
from imrt_core.patient import Goal, ProtocolError
from registration import DensityMethod

from .errors import StorageError
from .files import disk_errors
from .protocol_beams import AvoidRule, Beams, EquidistantRule, SelectRule
from .protocol_structures import MADE_TYPE, Rule, StructureRule

FORMAT_VERSION = 1
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
Presence = Literal["required", "where-present"]
Positive = Annotated[float, Field(gt=0)]


class TargetRule(Rule):
    """A prescription level.

    Parameters
    ----------
    name : str
        Protocol name of the PTV.
    dose_gy : float
        Course dose.
    ctv : str or None
        CTV that the PTV was grown from; PTV of day = CTV of day + ``margin_mm``.
    margin_mm : float
        CTV to PTV.
    presence : str
        ``"required"`` or ``"where-present"``.
    """

    name: str
    dose_gy: Positive
    ctv: str | None = None
    margin_mm: Annotated[float, Field(ge=0)] = 5.0
    presence: Presence = "required"


class GoalRule(Rule):
    """A goal as text, and what happens where its structure is absent."""

    goal: str
    presence: Presence = "required"

    @model_validator(mode="after")
    def _readable(self) -> GoalRule:
        goal = self.parsed
        if goal.hard and self.presence != "required":
            raise ValueError(f"a hard goal cannot be optional: {self.goal}")
        return self

    @property
    def parsed(self) -> Goal:
        """The goal as a domain object."""
        return Goal.parse(self.goal)


class ObjectiveRule(Rule):
    """A term of the optimiser's objective, in course dose; a protocol without any has them derived from its goals.

    Parameters
    ----------
    structure : str
        Protocol name, or a region made of such names (``imrt_core.optimize.regions``).
    kind : str
        Short name of the objective in ``imrt_core.optimize.objectives``.
    dose_gy : float
        Course dose that the term is about.
    weight : float
        Relative importance.

    Further keys are the parameters of that objective by name: ``volume_percent`` of dose-volume terms, ``exponent`` of
    gEUD.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float]

    structure: str
    kind: str
    dose_gy: Annotated[float, Field(ge=0)]
    weight: Positive

    @model_validator(mode="after")
    def _is_an_objective(self) -> Self:
        try:
            self.objective()
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        return self

    def objective(self) -> Objective:
        """Return the objective that the rule stands for."""
        return objective_of_kind(**self.model_dump())


def _policy(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if unknown := sorted(set(value) - {f.name for f in fields(Policy)}):
        raise ValueError(f"unknown thresholds: {', '.join(unknown)}")
    return Policy(**value)


class RegistrationRules(Rule):
    """Limits of the match and of the shift that may be made without a person looking.

    Parameters
    ----------
    max_shift_mm, max_rotation_deg : float
        Beyond: "do not move, look".
    roi_margin_mm : float or None
        Match what lies this close to the targets, soft tissue included; None matches bone wherever it is.
    density : DensityMethod
        What the dose of the day is computed on: the planning CT deformed to the day with today's air and gas, the
        image of the day on the planning CT's HU scale, or that sorted into five tissues.
    """

    max_shift_mm: Positive = 20.0
    max_rotation_deg: Positive = 3.0
    roi_margin_mm: Positive | None = None
    density: DensityMethod = DensityMethod.DEFORMED_PLAN


class Protocol(Rule):
    """Everything that a department decides once per site.

    Raises
    ------
    ValueError
        (pydantic) If names clash, a goal, a made structure or an avoidance names an unknown structure, structures
        are made of one another, or a beam appears twice.
    """

    format_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    version: str
    site: str
    description: str = ""
    machine: str = "generic_6mv"
    fractions: Annotated[int, Field(ge=1, le=60)]
    targets: Annotated[tuple[TargetRule, ...], Field(min_length=1)]
    structures: dict[str, StructureRule]
    goals: Annotated[
        tuple[Annotated[GoalRule, BeforeValidator(lambda g: {"goal": g} if isinstance(g, str) else g)], ...],
        Field(min_length=1),
    ]
    beams: Beams
    avoid: AvoidRule = AvoidRule()
    objectives: tuple[ObjectiveRule, ...] = ()
    decision: Annotated[Policy, BeforeValidator(_policy)] = Policy()
    registration: RegistrationRules = RegistrationRules()

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        known = {t.name for t in self.targets} | {t.ctv for t in self.targets if t.ctv} | set(self.structures)
        named = {g.parsed.structure for g in self.goals}
        named |= {rule.structure for rule in self.avoid.not_through}
        try:
            recipes = self.recipes
            named |= {need for recipe in recipes for need in recipe.needs}
            if unknown := sorted(named - known):
                raise ValueError(f"structures without a rule: {', '.join(unknown)}")
            makeable(recipes, ())  # refuses circles
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        if isinstance(self.beams, tuple):
            beams = [(b.gantry_deg, b.table_deg, b.collimator_deg) for b in self.beams]
            if len(set(beams)) != len(beams):
                raise ValueError("a beam appears twice")
        owners: dict[str, str] = {}
        for name in sorted(known):
            for text in (name, *self.aliases_of(name)):
                owner = owners.setdefault(normalised(text), name)
                if owner != name:
                    raise ValueError(f"the name '{text}' means both {owner} and {name}")
        return self

    @property
    def prescription_gy(self) -> dict[str, float]:
        """Course dose by target name, all levels."""
        return {t.name: t.dose_gy for t in self.targets}

    @property
    def structure_names(self) -> tuple[str, ...]:
        """Every structure that the protocol knows, targets first."""
        targets = [name for t in self.targets for name in (t.name, t.ctv) if name]
        return tuple(dict.fromkeys([*targets, *self.structures]))

    @property
    def recipes(self) -> tuple[StructureRecipe, ...]:
        """How structures are made that are not contoured."""
        kinds = {t.ctv: "CTV" for t in self.targets if t.ctv} | {t.name: "PTV" for t in self.targets}
        made = (
            rule.recipe(name, self.structure_names, interpreted_type=kinds.get(name, MADE_TYPE))
            for name, rule in self.structures.items()
        )
        return tuple(recipe for recipe in made if recipe is not None)

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Return the other names of a structure."""
        rule = self.structures.get(name)
        return rule.aliases if rule else ()


def normalised(name: str) -> str:
    """Return a structure name without case, blanks, underscores and hyphens, for comparison."""
    return "".join(c for c in name.casefold() if c not in " _-")


def shipped_protocols() -> tuple[str, ...]:
    """Return the names of the protocols in the package."""
    folder = resources.files("pipelines") / "protocols"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def protocol_text(name_or_path: str | Path) -> str:
    """Return the YAML of a shipped protocol by name, or of a file.

    Raises
    ------
    ProtocolError
        If there is neither.
    """
    if str(name_or_path) in shipped_protocols():
        return (resources.files("pipelines") / "protocols" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if not path.is_file():
        raise ProtocolError(
            "there is no such protocol",
            found=str(name_or_path),
            expected=f"a file, or one of {', '.join(shipped_protocols())}",
            code="protocol-not-found",
        )
    try:
        with disk_errors(path, "read"):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("a protocol must be UTF-8 text", found=str(error), where=str(path)) from error


def parse_protocol(text: str, *, where: str = "") -> Protocol:
    """Validate the YAML text of a protocol.

    Raises
    ------
    ProtocolError
        If it is not YAML, of a newer format, or breaks a rule; the message names every fault.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProtocolError("a protocol must be YAML", found=str(error), where=where) from error
    if not isinstance(content, dict):
        raise ProtocolError("a protocol must be a YAML mapping", found=type(content).__name__, where=where)
    try:
        return Protocol.model_validate(_migrated(content, where))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'protocol'}: {e['msg']}" for e in error.errors())
        raise ProtocolError("the protocol is not consistent", found=faults, where=where) from error


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Read a shipped protocol by name, or a file."""
    return parse_protocol(protocol_text(name_or_path), where=str(name_or_path))


def with_beams(protocol: Protocol, count: int | None, *, select: bool = False) -> Protocol:
    """Return a protocol with equidistant or chosen beams in place of its own; unchanged without a number.

    Raises
    ------
    ProtocolError
        If angles are to be chosen for no number of beams.
    """
    if count is None:
        if select:
            raise ProtocolError(
                "angles are chosen for a number of beams", found="--select-angles", expected="--beams N"
            )
        return protocol
    rule = SelectRule(select=count) if select else EquidistantRule(equidistant=count)
    return protocol.model_copy(update={"beams": rule})


def protocol_sha256(text: str) -> str:
    """Return the hash that the ledger and the reports name a protocol by."""
    return hashlib.sha256(text.encode()).hexdigest()


def _migrated(content: dict[str, Any], where: str) -> dict[str, Any]:
    version = content.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION or version < 1:
        raise ProtocolError(
            "unknown protocol format",
            found=f"format_version {version}",
            expected=f"1 to {FORMAT_VERSION}",
            where=where,
        )
    while version < FORMAT_VERSION:
        if version not in _MIGRATIONS:
            raise StorageError("no rule migrates this protocol", found=f"format_version {version}", where=where)
        content = _MIGRATIONS[version](content)
        version = content["format_version"]
    return content
