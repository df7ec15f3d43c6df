"""A plan against the independent check: engine and measured tables at one point of every beam.

This is where the two meet: neither :mod:`imrt_core.check` nor the engines know of it or of one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imrt_core.check import (
    TOLERANCE_PERCENT,
    BeamCheck,
    CheckTables,
    candidate_points,
    check_plan,
    suited_point,
)
from imrt_core.dose import BeamDose
from imrt_core.patient import Beam, InputRefusedError, Plan, Volume

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
    tables: Sequence[CheckTables],
    *,
    fraction_dose_gy: Volume,
    computed: Sequence[BeamDose],
    patient_position: str,
) -> MuCheck:
    """Compare engine and independent check at one point of every beam.

    Each beam is checked at the first of these points that suits it: its Beam Dose Specification Point, the isocentre,
    points of high and flat dose in soft tissue, of the beam's own dose where it is kept and then of the plan's. A beam
    with none is not judged, and neither is one that the check cannot compute or whose dose there was not kept.

    Parameters
    ----------
    plan : Plan
        Beams with metersets.
    red : Volume
        Electron density relative to water.
    tables : sequence of CheckTables
        What the check uses, one for each beam quality; beams of another quality are not checked.
    fraction_dose_gy : Volume
        The engine's dose of one fraction.
    computed : sequence of BeamDose
        What the engine has found for each beam, with its dose distribution
        (:func:`imrt_core.dose.plan_dose` with ``keep_beams``).
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    """
    on_grid = red.resampled_to(fraction_dose_gy.grid)
    of_plan = candidate_points(fraction_dose_gy, on_grid)
    made = []
    for beam, dose in zip(plan.beams, computed, strict=True):
        kept = dose.fraction_dose_gy
        proposed = of_plan if kept is None else (*candidate_points(kept, on_grid, count=_OWN_CANDIDATES), *of_plan)
        found = _chosen(beam, red, tables, proposed, patient_position)
        made.append(
            found if isinstance(found, BeamMuCheck) else _compared(plan, beam, red, *found, dose, patient_position)
        )
    return MuCheck(tuple(made))


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
    plan: Plan,
    beam: Beam,
    red: Volume,
    point: Point,
    tables: CheckTables,
    computed: BeamDose,
    patient_position: str,
) -> BeamMuCheck:
    """Return the verdict on a beam at a point."""
    dose_gy = _dose_at(beam, computed, point)
    if dose_gy is None:
        return _not_made(beam, "the engine's dose of the beam at the check's point was not kept", tables, point)
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


def _dose_at(beam: Beam, computed: BeamDose, point: Point) -> float | None:
    """Return the engine's dose of a beam at a point; None where it has not been kept."""
    if point == beam.beam_dose_point_lps and computed.dose_at_point_gy is not None:
        return computed.dose_at_point_gy
    if point == beam.isocentre_lps:
        return computed.dose_at_isocentre_gy
    kept = computed.fraction_dose_gy
    return float(kept.sample(point)) if kept is not None and kept.grid.contains(point) else None


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
