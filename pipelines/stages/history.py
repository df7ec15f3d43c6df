"""The course so far: dose delivered in earlier fractions and their findings, read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imrt_core.evaluate import Finding
from imrt_core.evaluate.accumulation import Accumulation, FractionDose, accumulate, pull_back
from imrt_core.patient import DisplacementField, RigidTransform, Volume
from registration import DeformableMatch, RigidMatch

from ..codec import read_npz, read_value_json
from ..results import DayDose, PlanForDay, PlanOfRecord, Withheld
from ..store import FractionFolder


def accumulate_store(
    fraction: FractionFolder,
    planned_course_gy: Volume,
    plan: PlanOfRecord,
    match: RigidMatch,
    deformation: DeformableMatch | Withheld,
    today: DayDose | Withheld,
) -> tuple[Accumulation | Withheld, tuple[str, ...]]:
    """Recompute the accumulated dose of all fractions up to this one from the store.

    A late, repeated or out-of-order fraction thus gives the same sum.

    Returns
    -------
    Accumulation or Withheld, tuple of str
        With sentences on what was assumed.
    """
    if isinstance(today, Withheld):
        return today, ()
    earlier = [computed for f in fraction.course.fractions() if f.number < fraction.number and (computed := _read(f))]
    return accumulated_to(
        _computed(fraction, today, _map(match, deformation)),
        earlier,
        _deliveries(fraction),
        planned_course_gy=planned_course_gy,
        planned_fractions=plan.plan.fractions_planned,
    )


def earlier_findings(fraction: FractionFolder) -> tuple[tuple[Finding, ...], ...]:
    """Return the findings of the decisions of all earlier fractions, oldest first."""
    return tuple(
        read_value_json(f.output("decision", ".json")).findings
        for f in fraction.course.fractions()
        if f.number < fraction.number and f.output("decision", ".json").is_file()
    )


@dataclass(frozen=True, eq=False)
class ComputedFraction:
    """A fraction whose dose is known.

    Parameters
    ----------
    number : int
        From 1.
    fraction_dose_gy : Volume
        Of the plan of record, day frame.
    delivered_dose_gy : Volume
        What was delivered, day frame: the same, or that of the plan of the day or of a partial delivery, as recorded.
    moving_from_fixed : DisplacementField or RigidTransform
        Planning points to points of the day.
    """

    number: int
    fraction_dose_gy: Volume
    delivered_dose_gy: Volume
    moving_from_fixed: DisplacementField | RigidTransform


def accumulated_to(
    today: ComputedFraction,
    earlier: Sequence[ComputedFraction],
    deliveries: Mapping[int, str],
    *,
    planned_course_gy: Volume,
    planned_fractions: int,
) -> tuple[Accumulation, tuple[str, ...]]:
    """Sum what was delivered before today (and today, where recorded) and project to the end.

    A fraction without an image of its own takes the dose of the nearest earlier one that has one, or of the plan. What
    was not recorded is "assumed" delivered. Remaining fractions get the plan of record at today's anatomy.

    Parameters
    ----------
    today : ComputedFraction
        Today's fraction.
    earlier : sequence of ComputedFraction
        Those before it, in any order.
    deliveries : mapping of int to str
        ``"full"``, ``"partial"`` or ``"none"`` by fraction number, as recorded.
    planned_course_gy : Volume
        Baseline, planning frame.
    planned_fractions : int
        Of the course.

    Returns
    -------
    Accumulation, tuple of str
        With sentences on what was assumed.
    """
    grid = planned_course_gy.grid
    planned_gy = planned_course_gy.with_array(planned_course_gy.array / np.float32(planned_fractions))
    computed = {fraction.number: fraction for fraction in earlier}
    identity = RigidTransform.identity()
    standing_in: dict[int, list[int]] = {}
    like_source_gy, source = planned_gy, 0
    fractions: list[FractionDose] = []
    for n in range(1, today.number):
        dose_gy = like_source_gy
        if n in computed:
            dose_gy = _pulled(computed[n].delivered_dose_gy, computed[n], planned_gy)
            like_source_gy, source = _pulled(computed[n].fraction_dose_gy, computed[n], planned_gy), n
        if deliveries.get(n) == "none":
            continue
        if n not in computed:
            standing_in.setdefault(source, []).append(n)
            dose_gy = like_source_gy
        fractions.append(
            FractionDose(number=n, dose_gy=dose_gy, moving_from_fixed=identity, assumed=n not in deliveries)
        )
    if deliveries.get(today.number, "none") != "none":
        dose_gy = _pulled(today.delivered_dose_gy, today, planned_gy)
        fractions.append(FractionDose(number=today.number, dose_gy=dose_gy, moving_from_fixed=identity))
    result = accumulate(
        fractions,
        grid=grid,
        planned_fractions=planned_fractions,
        remaining_fraction_gy=_pulled(today.fraction_dose_gy, today, planned_gy),
        planned_fraction_gy=planned_gy,
    )
    notes = [
        f"fractions {_ranges(numbers)} have no image: assumed as " + (f"fx{source:02d}" if source else "planned")
        for source, numbers in sorted(standing_in.items())
    ]
    return result, tuple(notes)


def _pulled(dose_gy: Volume, fraction: ComputedFraction, planned_gy: Volume) -> Volume:
    return _filled(pull_back(dose_gy, fraction.moving_from_fixed, grid=planned_gy.grid), planned_gy)


def _filled(dose_gy: Volume, planned_gy: Volume) -> Volume:
    """Where the dose of a day does not reach, the planned fraction stands in."""
    array = np.asarray(dose_gy.array, dtype=np.float32)
    return dose_gy.with_array(np.where(np.isnan(array), planned_gy.array, array).astype(np.float32))


def _ranges(numbers: Sequence[int]) -> str:
    """Return ``2–17, 19`` for sorted numbers."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in parts)


def _read(fraction: FractionFolder) -> ComputedFraction | None:
    """Read an earlier fraction; None if its dose is not there."""
    path = fraction.output("dose_of_day", ".npz")
    dose: DayDose | Withheld = read_npz(path) if path.is_file() else Withheld("not computed")
    if isinstance(dose, Withheld):
        return None
    match, deformation = (read_npz(fraction.output(name, ".npz")) for name in ("rigid_match", "deformation"))
    return _computed(fraction, dose, _map(match, deformation))


def _computed(
    fraction: FractionFolder, dose: DayDose, moving_from_fixed: DisplacementField | RigidTransform
) -> ComputedFraction:
    delivered = dose.delivered_fraction_dose_gy or dose.fraction_dose_gy
    delivery, adapted = fraction.delivery(), fraction.output("plan_of_day", ".npz")
    if delivery is not None and delivery.plan_uid and adapted.is_file():
        made: PlanForDay = read_npz(adapted)
        if made.plan is not None and made.fraction_dose_gy and made.plan.sop_instance_uid == delivery.plan_uid:
            delivered = made.fraction_dose_gy
    return ComputedFraction(fraction.number, dose.fraction_dose_gy, delivered, moving_from_fixed)


def _map(match: RigidMatch, deformation: DeformableMatch | Withheld) -> DisplacementField | RigidTransform:
    return match.moving_from_fixed if isinstance(deformation, Withheld) else deformation.moving_from_fixed


def _deliveries(fraction: FractionFolder) -> dict[int, str]:
    folders = (fraction.course.fraction(n) for n in range(1, fraction.number + 1))
    return {f.number: delivery.delivered for f in folders if (delivery := f.delivery()) is not None}
