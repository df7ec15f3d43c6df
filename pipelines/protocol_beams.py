"""Beams in a protocol: listed, equidistant or chosen, and what they avoid."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from imrt_core.optimize import AngleSearch, AvoidanceSector, BeamAvoidance, BeamDirection, EquidistantBeams, NotThrough

from .protocol_structures import Rule

Angle = Annotated[float, Field(ge=0, lt=360)]
SectorEnd = Annotated[float, Field(ge=0, le=360)]


class BeamRule(Rule):
    """One static-gantry beam of the arrangement, IEC 61217 degrees; another table angle than 0 is non-coplanar."""

    gantry_deg: Angle
    collimator_deg: Angle = 0.0
    table_deg: Angle = 0.0


class EquidistantRule(Rule):
    """Beams at even distances around the patient, IEC 61217 degrees.

    Parameters
    ----------
    equidistant : int
        How many.
    start_deg : float
        Gantry angle of the first.
    collimator_deg, table_deg : float
        Of all.
    when_blocked : str
        What happens to a beam without clearance or through what is avoided: ``"move"`` to the nearest free angle, or
        ``"drop"``.
    """

    equidistant: Annotated[int, Field(ge=1, le=36)]
    start_deg: Angle = 0.0
    collimator_deg: Angle = 0.0
    table_deg: Angle = 0.0
    when_blocked: Literal["move", "drop"] = "move"


class SelectRule(Rule):
    """Gantry angles chosen for the patient (:mod:`imrt_core.optimize.beam_angles`), from equidistant ones on.

    Parameters
    ----------
    select : int
        How many beams.
    start_deg, collimator_deg, table_deg : float
        Of the equidistant arrangement.
    step_deg : float
        Distance of the candidates.
    time_limit_s : float or None
        No try begins after it; a search that it cuts short may give other angles on another machine.
    """

    select: Annotated[int, Field(ge=1, le=18)]
    start_deg: Angle = 0.0
    collimator_deg: Angle = 0.0
    table_deg: Angle = 0.0
    step_deg: Annotated[float, Field(ge=2, le=40)] = 10.0
    time_limit_s: Annotated[float, Field(gt=0)] | None = None


class SectorRule(Rule):
    """Gantry angles without a beam, from the first to ascending angles, over 0 if need be."""

    from_deg: SectorEnd
    to_deg: SectorEnd


class NotThroughRule(Rule):
    """A structure that no beam may pass before the target, but for a share of its rays."""

    structure: str
    allowed_percent: Annotated[float, Field(ge=0, lt=100)] = 0.0


class AvoidRule(Rule):
    """What beams avoid. A structure that the patient lacks is not avoided."""

    sectors: tuple[SectorRule, ...] = ()
    not_through: tuple[NotThroughRule, ...] = ()


Beams = Annotated[tuple[BeamRule, ...], Field(min_length=1)] | EquidistantRule | SelectRule


def beams_of(rule: tuple[BeamRule, ...] | EquidistantRule | SelectRule) -> tuple[BeamDirection, ...] | EquidistantBeams:
    """Return the domain object of a rule; for beams that are chosen, where the search begins."""
    if isinstance(rule, EquidistantRule):
        return EquidistantBeams(
            count=rule.equidistant,
            start_deg=rule.start_deg,
            collimator_deg=rule.collimator_deg,
            table_deg=rule.table_deg,
            may_drop=rule.when_blocked == "drop",
        )
    if isinstance(rule, SelectRule):
        return EquidistantBeams(
            count=rule.select,
            start_deg=rule.start_deg,
            collimator_deg=rule.collimator_deg,
            table_deg=rule.table_deg,
        )
    return tuple(BeamDirection(**beam.model_dump()) for beam in rule)


def search_of(rule: SelectRule) -> AngleSearch:
    """Return how angles are searched."""
    return AngleSearch(step_deg=rule.step_deg, time_limit_s=rule.time_limit_s or float("inf"))


def avoidance_of(rule: AvoidRule, names: tuple[str, ...]) -> BeamAvoidance:
    """Return the domain object of a rule, for the structures that are there."""
    return BeamAvoidance(
        sectors=tuple(AvoidanceSector(**sector.model_dump()) for sector in rule.sectors),
        not_through=tuple(NotThrough(**t.model_dump()) for t in rule.not_through if t.structure in names),
    )
