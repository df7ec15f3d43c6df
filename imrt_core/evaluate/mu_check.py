"""A plan against the independent check: engine and measured tables at one point of every beam.

This is where the two meet: neither :mod:`imrt_core.check` nor the engines know of it or of one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from imrt_core.check import (
    TOLERANCE_PERCENT,
    BeamCheck,
    CheckTables,
    candidate_points,
    check_plan,
    suited_point,
)
from imrt_core.dose import BeamDose, mixed_plan_dose
from imrt_core.machine import Machine
from imrt_core.patient import Beam, Grid, InputRefusedError, Plan, Volume

Point = tuple[float, float, float]

#: Points that a beam's own dose proposes.
_OWN_CANDIDATES = 6
#: Stands for no dose.
_LEAST_GY = 1e-6


@dataclass(frozen=True)
class BeamMuCheck:
    """One beam, per fraction.

    Parameters
    ----------
    number, name, mu
        As in the plan.
    tables : str
        Name and version of the measured tables; empty where there are none for the beam.
    point_lps : tuple of float or None
        Where, LPS mm, frame of the density.
    check_dose_gy, engine_dose_gy : float or None
        Dose of the planned meterset there by the check and by the dose engine.
    mu_for_engine_dose : float or None
        Meterset that gives the engine's dose by the check.
    difference_percent : float or None
        (engine − check) / check.
    passed : bool or None
        Within the tolerance; None where the check could not be made.
    reasons : tuple of str
        Why it could not be made.
    notes : tuple of str
        What makes it less exact without forbidding it.
    """

    number: int
    name: str
    mu: float
    tables: str = ""
    point_lps: Point | None = None
    check_dose_gy: float | None = None
    engine_dose_gy: float | None = None
    mu_for_engine_dose: float | None = None
    difference_percent: float | None = None
    passed: bool | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MuCheck:
    """The check of all beams of a plan, in its order."""

    beams: tuple[BeamMuCheck, ...]
    tolerance_percent: float = TOLERANCE_PERCENT

    @property
    def passed(self) -> bool | None:
        """False if any beam differs, else None if any could not be checked, else True."""
        verdicts = [beam.passed for beam in self.beams]
        if False in verdicts:
            return False
        return True if verdicts and None not in verdicts else None

    @property
    def largest_percent(self) -> float | None:
        """Difference of the beam that differs most, with its sign, of those that were judged."""
        judged = [b.difference_percent for b in self.beams if b.passed is not None and b.difference_percent is not None]
        return max(judged, key=abs, default=None)

    @property
    def differing(self) -> tuple[str, ...]:
        """Beams beyond the tolerance, a line for each."""
        return tuple(
            f"beam {beam.name}: engine {beam.difference_percent:+.1f} % against the check, "
            f"at most {self.tolerance_percent:g} %"
            for beam in self.beams
            if beam.passed is False
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps the plan from passing: beams that differ, then those that could not be checked and why."""
        not_made = (
            f"beam {beam.name}: not made, {'; '.join(beam.reasons)}" for beam in self.beams if beam.passed is None
        )
        return (*self.differing, *not_made)


def check_metersets(
    plan: Plan,
    red: Volume,
    machines: Sequence[Machine],
    tables: Sequence[CheckTables],
    *,
    fraction_dose_gy: Volume,
    patient_position: str,
    computed: Sequence[BeamDose] | None = None,
    engine: str = "collapsed-cone",
) -> MuCheck:
    """Compare engine and independent check at one point of every beam.

    Each beam is checked at the first of these points that suits it: its Beam Dose Specification Point, the isocentre,
    points of high and flat dose in soft tissue, of the beam's own dose where it is kept and else of the plan's. A beam
    with none is not judged, and neither is one that the check cannot compute.

    Parameters
    ----------
    plan : Plan
        Beams with metersets.
    red : Volume
        Electron density relative to water.
    machines : sequence of Machine
        What the engine uses, one for each beam quality.
    tables : sequence of CheckTables
        What the check uses, one for each beam quality; beams of another quality are not checked.
    fraction_dose_gy : Volume
        The engine's dose of one fraction.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    computed : sequence of BeamDose or None
        What the engine has found for each beam. A kept dose distribution proposes points where much of a modulated
        beam's fluence is open, and spares a computation; without, isocentre and dose point do where they suit.
    engine : str
        As in :func:`imrt_core.dose.plan_dose`.
    """
    on_grid = red.resampled_to(fraction_dose_gy.grid)
    of_plan = candidate_points(fraction_dose_gy, on_grid)
    made: dict[int, BeamMuCheck] = {}
    chosen: dict[int, tuple[Point, CheckTables]] = {}
    for number, beam in enumerate(plan.beams):
        kept = None if computed is None else computed[number].fraction_dose_gy
        proposed = of_plan if kept is None else (*candidate_points(kept, on_grid, count=_OWN_CANDIDATES), *of_plan)
        found = _chosen(beam, red, tables, proposed, patient_position)
        if isinstance(found, BeamMuCheck):
            made[beam.number] = found
        else:
            chosen[beam.number] = found
    points = {number: point for number, (point, _) in chosen.items()}
    doses, refused = _known(plan, computed, points), ""
    missing = {number: point for number, point in points.items() if number not in doses}
    if missing:
        spacing_mm = fraction_dose_gy.grid.spacing_mm
        try:
            doses |= _at_points(plan, red, machines, missing, spacing_mm, patient_position, engine)
        except InputRefusedError as error:
            refused = f"the engine gives no dose at the check's point: {error}"
    for beam in plan.beams:
        if beam.number in chosen:
            point, of_quality = chosen[beam.number]
            dose = doses.get(beam.number)
            made[beam.number] = (
                _not_made(beam, refused, of_quality, point)
                if dose is None
                else _compared(plan, beam, red, of_quality, point, dose, patient_position)
            )
    return MuCheck(tuple(made[beam.number] for beam in plan.beams))


def _chosen(
    beam: Beam, red: Volume, tables: Sequence[CheckTables], proposed: tuple[Point, ...], patient_position: str
) -> tuple[Point, CheckTables] | BeamMuCheck:
    """Return where a beam is checked and with which tables, or why it cannot be."""
    of_quality = _tables_for(beam, tables)
    if of_quality is None:
        return _not_made(beam, f"no measured tables for {beam.nominal_energy_mv:g} MV {beam.fluence_mode}")
    own = [point for point in (beam.beam_dose_point_lps, beam.isocentre_lps) if point is not None]
    points = tuple(dict.fromkeys((*own, *proposed)))
    try:
        return suited_point(beam, red, of_quality, points, patient_position=patient_position), of_quality
    except InputRefusedError as error:
        return _not_made(beam, str(error), of_quality)


def _compared(
    plan: Plan, beam: Beam, red: Volume, tables: CheckTables, point: Point, dose_gy: float, patient_position: str
) -> BeamMuCheck:
    """Return the verdict on a beam whose dose at the point the engine has told."""
    try:
        found = check_plan(
            replace(plan, beams=(beam,)),
            red,
            tables,
            points_lps=point,
            patient_position=patient_position,
            # An engine that gives nothing where the check gives dose differs; it is no bad request.
            planned_gy={beam.number: _LEAST_GY if dose_gy <= 0 else dose_gy},
        )
    except InputRefusedError as error:
        return _not_made(beam, str(error), tables, point)
    return _judged(found.beams[0], found.tables)


def _tables_for(beam: Beam, tables: Sequence[CheckTables]) -> CheckTables | None:
    for of_quality in tables:
        same_energy = abs(of_quality.nominal_energy_mv - beam.nominal_energy_mv) <= 0.1
        if same_energy and of_quality.fluence_mode == beam.fluence_mode:
            return of_quality
    return None


def _known(plan: Plan, computed: Sequence[BeamDose] | None, chosen: Mapping[int, Point]) -> dict[int, float]:
    """Doses at the chosen points that the engine has computed already, by beam number."""
    known: dict[int, float] = {}
    if computed is None:
        return known
    for beam, dose in zip(plan.beams, computed, strict=True):
        point = chosen.get(beam.number)
        if point is not None and point == beam.beam_dose_point_lps and dose.dose_at_point_gy is not None:
            known[beam.number] = dose.dose_at_point_gy
        elif point is not None and point == beam.isocentre_lps:
            known[beam.number] = dose.dose_at_isocentre_gy
        elif point is not None and dose.fraction_dose_gy is not None and dose.fraction_dose_gy.grid.contains(point):
            known[beam.number] = float(dose.fraction_dose_gy.sample(point))
    return known


def _at_points(
    plan: Plan,
    red: Volume,
    machines: Sequence[Machine],
    points: Mapping[int, Point],
    spacing_mm: tuple[float, float, float],
    patient_position: str,
    engine: str,
) -> dict[int, float]:
    """Compute the engine's dose of some beams at one point each; the spacing sets the engine's resolution."""
    beams = tuple(
        replace(beam, beam_dose_point_lps=points[beam.number]) for beam in plan.beams if beam.number in points
    )
    dose = mixed_plan_dose(
        replace(plan, beams=beams),
        red,
        machines,
        dose_grid=Grid((1, 1, 1), spacing_mm, points[beams[0].number]),
        patient_position=patient_position,
        engine=engine,
    )
    return {
        beam.number: of.dose_at_point_gy
        for beam, of in zip(beams, dose.beams, strict=True)
        if of.dose_at_point_gy is not None
    }


def _judged(found: BeamCheck, tables: str) -> BeamMuCheck:
    judged = found.verdict in ("agrees", "differs")
    return BeamMuCheck(
        number=found.number,
        name=found.name,
        mu=found.mu,
        tables=tables,
        point_lps=found.point_lps,
        check_dose_gy=found.check_dose_gy,
        engine_dose_gy=found.planned_dose_gy,
        mu_for_engine_dose=found.mu_for_planned_dose,
        difference_percent=found.difference_percent,
        passed=found.verdict == "agrees" if judged else None,
        reasons=found.reasons or (() if judged else ("the check gives no dose at any point",)),
        notes=found.notes,
    )


def _not_made(
    beam: Beam, reason: str, tables: CheckTables | None = None, point_lps: Point | None = None
) -> BeamMuCheck:
    name = f"{tables.name} {tables.version}" if tables else ""
    return BeamMuCheck(beam.number, beam.name, beam.mu, name, point_lps, reasons=(reason,))
