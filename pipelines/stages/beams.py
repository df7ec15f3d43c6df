"""The protocol's beams for a patient: listed, equidistant or chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imrt_core.machine import Machine
from imrt_core.optimize import (
    AngleProgress,
    BeamArrangement,
    BeamAvoidance,
    BeamObstacles,
    EquidistantBeams,
    arrange_beams,
    objections,
    select_angles,
)
from imrt_core.optimize.objectives import Objective
from imrt_core.patient import Goal, Plan, StructureSet, Volume

from ..protocol import Protocol
from ..protocol_beams import SelectRule, avoidance_of, beams_of, search_of


def beams_for(
    protocol: Protocol,
    red: Volume,
    structures: StructureSet,
    machine: Machine,
    *,
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    objectives: Sequence[Objective] | None,
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    progress: Callable[[AngleProgress], None] | None = None,
) -> tuple[BeamArrangement, BeamAvoidance]:
    """Return the beams of a patient's plan, and what they avoid.

    Raises
    ------
    PlanError
        If a listed beam has no clearance or comes from where it may not, or no beam is left.
    """
    avoidance = avoidance_of(protocol.avoid, tuple(s.name for s in structures if not s.is_empty))
    targets = [name for name, _ in prescription_gy]
    obstacles = BeamObstacles(machine, avoidance, structures, targets, isocentre_lps, patient_position)
    wanted = beams_of(protocol.beams)
    if not (isinstance(protocol.beams, SelectRule) and isinstance(wanted, EquidistantBeams)):
        return arrange_beams(wanted, obstacles), avoidance
    chosen = select_angles(
        red,
        structures,
        machine,
        goals=goals,
        prescription_gy=prescription_gy,
        fractions=protocol.fractions,
        start=wanted,
        obstacles=obstacles,
        objectives=objectives,
        search=search_of(protocol.beams),
        progress=progress,
    )
    arranged = arrange_beams(chosen.beams, obstacles)
    return BeamArrangement(chosen.beams, arranged.lost_deg, chosen.notes), avoidance


def objections_to(
    plan: Plan,
    protocol: Protocol,
    structures: StructureSet,
    machine: Machine,
    *,
    targets: Sequence[str],
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
) -> tuple[str, ...]:
    """Return what clearance and the protocol's avoidance have against a plan's beams on this anatomy, in sentences."""
    avoidance = avoidance_of(protocol.avoid, tuple(s.name for s in structures if not s.is_empty))
    return objections(
        plan, BeamObstacles(machine, avoidance, structures, tuple(targets), isocentre_lps, patient_position)
    )
