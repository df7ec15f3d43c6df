"""Where beams come from: fixed or equidistant angles, and what keeps a beam from an angle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from imrt_core.geometry.entrance import EntranceTest
from imrt_core.machine import Machine
from imrt_core.machine.clearance import clearance_refusal, in_range, positions_of
from imrt_core.patient import Plan, PlanError, ProtocolError, StructureSet

from .plan_types import BeamDirection

#: A beam is moved by whole steps of this size, and never nearer to another one than this share of the even spacing.
_MOVE_DEG = 1.0
_LEAST_SPACING = 0.5


@dataclass(frozen=True, kw_only=True)
class AvoidanceSector:
    """Gantry angles that no beam or control point may have, from the first to ascending angles (over 0 if need be)."""

    from_deg: float
    to_deg: float

    def __str__(self) -> str:
        return f"sector {self.from_deg:g}° to {self.to_deg:g}°"


@dataclass(frozen=True, kw_only=True)
class NotThrough:
    """A structure that no beam may pass before the target.

    Parameters
    ----------
    structure : str
        Its name. Rays run to the targets themselves: to keep the penumbra out too, name a structure with a margin.
    allowed_percent : float
        Share of the rays to the targets that may pass it all the same.
    """

    structure: str
    allowed_percent: float = 0.0

    def __str__(self) -> str:
        return f"not through {self.structure}"


@dataclass(frozen=True, kw_only=True)
class BeamAvoidance:
    """What beams must avoid."""

    sectors: tuple[AvoidanceSector, ...] = ()
    not_through: tuple[NotThrough, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EquidistantBeams:
    """So many beams at even distances around the patient.

    Parameters
    ----------
    count : int
        Beams.
    start_deg : float
        Gantry angle of the first.
    collimator_deg, table_deg : float
        Of all.
    may_drop : bool
        Leave a beam out whose angle is blocked, instead of moving it to the nearest free angle.
    """

    count: int
    start_deg: float = 0.0
    collimator_deg: float = 0.0
    table_deg: float = 0.0
    may_drop: bool = False

    def directions(self) -> tuple[BeamDirection, ...]:
        """Return the beams as if nothing were in their way."""
        return tuple(
            BeamDirection(
                gantry_deg=(self.start_deg + 360.0 * n / self.count) % 360.0,
                collimator_deg=self.collimator_deg,
                table_deg=self.table_deg,
            )
            for n in range(self.count)
        )


@dataclass(eq=False)
class BeamObstacles:
    """Tells why a beam may not come from somewhere.

    Parameters
    ----------
    machine : Machine
        Its clearance table.
    avoidance : BeamAvoidance
        Sectors and structures.
    structures : StructureSet
        Holds the targets and the structures to avoid.
    targets : sequence of str
        Prescribed structures.
    isocentre_lps : tuple of float
        mm.
    patient_position : str
        Of the image.

    Raises
    ------
    StructureError
        If a structure is absent or empty.
    """

    machine: Machine
    avoidance: BeamAvoidance
    structures: StructureSet
    targets: Sequence[str]
    isocentre_lps: tuple[float, float, float]
    patient_position: str
    _entrance: EntranceTest | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.avoidance.not_through:
            self._entrance = EntranceTest(
                self.structures,
                targets=self.targets,
                avoided=[rule.structure for rule in self.avoidance.not_through],
                isocentre_lps=self.isocentre_lps,
                patient_position=self.patient_position,
                sad_mm=self.machine.model.sad_mm,
            )

    def reasons(self, gantry_deg: float, table_deg: float = 0.0) -> dict[str, str]:
        """Return by rule why a beam may not come from there; empty where it may."""
        found: dict[str, str] = {}
        if clearance := clearance_refusal(self.machine.clearance, gantry_deg, table_deg):
            found["clearance"] = clearance
        for sector in self.avoidance.sectors:
            if in_range(gantry_deg, (sector.from_deg, sector.to_deg)):
                found[str(sector)] = f"gantry {gantry_deg:g}° lies in the avoided {sector}"
        for rule in self.avoidance.not_through if self._entrance is not None else ():
            assert self._entrance is not None
            percent = self._entrance.percent_through(rule.structure, gantry_deg, table_deg)
            if percent > rule.allowed_percent:
                found[str(rule)] = (
                    f"{percent:.0f} % of the rays at gantry {gantry_deg:g}°, table {table_deg:g}° "
                    f"pass {rule.structure} before the target"
                )
        return found

    def is_free(self, gantry_deg: float, table_deg: float = 0.0) -> bool:
        """Return whether nothing keeps a beam from there."""
        return not self.reasons(gantry_deg, table_deg)

    def lost_deg(self, table_deg: float = 0.0) -> dict[str, int]:
        """Return how many of the 360 whole gantry degrees each rule takes, and all together (``"any"``)."""
        lost: dict[str, int] = {}
        for gantry in range(360):
            found = self.reasons(float(gantry), table_deg)
            for name in (*found, *(("any",) if found else ())):
                lost[name] = lost.get(name, 0) + 1
        return lost


@dataclass(frozen=True)
class BeamArrangement:
    """Beams that may be used.

    Parameters
    ----------
    beams : tuple of BeamDirection
        In the order that was asked for.
    lost_deg : dict of str to int
        See :meth:`BeamObstacles.lost_deg`; empty where nothing is avoided.
    notes : tuple of str
        Beams that were moved or left out, and the degrees that are lost, in words.
    """

    beams: tuple[BeamDirection, ...]
    lost_deg: dict[str, int]
    notes: tuple[str, ...]


def arrange_beams(wanted: Sequence[BeamDirection] | EquidistantBeams, obstacles: BeamObstacles) -> BeamArrangement:
    """Return beams that nothing keeps from their angles.

    Beams of a list stay where they are or are refused. Equidistant ones are moved to the nearest free angle (to the
    ascending side where two are as near) that keeps half of the even spacing from every other beam, or left out.

    Raises
    ------
    PlanError
        If a listed beam is blocked, with the reason; or no equidistant beam is left.
    """
    if isinstance(wanted, EquidistantBeams):
        if wanted.count < 1:
            raise ProtocolError("an arrangement needs a beam", found=f"{wanted.count} beams")
        kept, notes = _moved(wanted, obstacles)
    else:
        refuse_blocked(wanted, obstacles)
        kept, notes = tuple(wanted), ()
    lost: dict[str, int] = {}
    if obstacles.avoidance.sectors or obstacles.avoidance.not_through:
        tables = sorted({beam.table_deg for beam in kept})
        for table in tables:
            here = obstacles.lost_deg(table)
            at = f" at table {table:g}°" if len(tables) > 1 else ""
            lost |= {name + at: degrees for name, degrees in here.items()}
            parts = ", ".join(f"{name} {degrees}°" for name, degrees in here.items() if name != "any")
            notes = (*notes, f"{here.get('any', 0)} of 360 gantry degrees are not available{at} ({parts or 'none'}).")
    return BeamArrangement(kept, lost, notes)


def refuse_blocked(beams: Sequence[BeamDirection], obstacles: BeamObstacles) -> None:
    """Refuse beams that something keeps from their angle.

    Raises
    ------
    PlanError
        Naming every such beam and why.
    """
    faults = []
    for number, beam in enumerate(beams, start=1):
        for reason in obstacles.reasons(beam.gantry_deg, beam.table_deg).values():
            faults.append(f"beam {number}: {reason}")
    if faults:
        raise PlanError(
            "beams that may not be used",
            found="; ".join(faults),
            expected="angles that clearance and avoidance leave free",
            code="beam-blocked",
        )


def objections(plan: Plan, obstacles: BeamObstacles) -> tuple[str, ...]:
    """Return what speaks against the beams of a plan that was not made under these obstacles, a sentence each.

    Of an arc every degree that it passes counts; each rule is named once per beam, with how often it is broken.
    """
    found: list[str] = []
    for beam in plan.beams:
        positions = positions_of(beam)
        broken: dict[str, list[str]] = {}
        for gantry_deg, table_deg in positions:
            for rule, reason in obstacles.reasons(gantry_deg, table_deg).items():
                broken.setdefault(rule, []).append(reason)
        for reasons in broken.values():
            often = f" ({len(reasons)} of {len(positions)} positions)" if len(positions) > 1 else ""
            found.append(f"Beam {beam.name}: {reasons[0]}{often}.")
    return tuple(found)


def _moved(wanted: EquidistantBeams, obstacles: BeamObstacles) -> tuple[tuple[BeamDirection, ...], tuple[str, ...]]:
    spacing_deg = 360.0 / wanted.count
    directions = wanted.directions()
    free = [obstacles.is_free(b.gantry_deg, b.table_deg) for b in directions]
    taken = [b.gantry_deg for b, is_free in zip(directions, free, strict=True) if is_free]
    kept: list[BeamDirection] = []
    notes: list[str] = []
    for beam, is_free in zip(directions, free, strict=True):
        if is_free:
            kept.append(beam)
            continue
        why = "; ".join(obstacles.reasons(beam.gantry_deg, beam.table_deg).values())

        def fits(gantry_deg: float, table_deg: float = beam.table_deg) -> bool:
            apart = min((angle_between(gantry_deg, other) for other in taken), default=360.0)
            return apart >= _LEAST_SPACING * spacing_deg and obstacles.is_free(gantry_deg, table_deg)

        place = None if wanted.may_drop else _nearest(beam.gantry_deg, spacing_deg, fits)
        if place is None:
            notes.append(f"The beam at {beam.gantry_deg:.4g}° is left out: {why}.")
            continue
        taken.append(place)
        kept.append(replace(beam, gantry_deg=place))
        notes.append(f"The beam at {beam.gantry_deg:.4g}° is moved to {place:.4g}°: {why}.")
    if not kept:
        raise PlanError("no beam is left", found="; ".join(notes), expected="a free gantry angle", code="beam-blocked")
    return tuple(kept), tuple(notes)


def _nearest(gantry_deg: float, furthest_deg: float, fits: Callable[[float], bool]) -> float | None:
    for step in np.arange(_MOVE_DEG, furthest_deg + 1e-9, _MOVE_DEG):
        for sign in (1.0, -1.0):
            place = float((gantry_deg + sign * step) % 360.0)
            if fits(place):
                return place
    return None


def angle_between(a_deg: float, b_deg: float) -> float:
    """Return the smaller angle between two gantry angles."""
    apart = abs(a_deg - b_deg) % 360.0
    return min(apart, 360.0 - apart)
