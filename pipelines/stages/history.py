"""The course so far: dose delivered in earlier fractions and their findings, read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imrt_core.evaluate import Finding
from imrt_core.evaluate.accumulation import Accumulation, FractionDose, accumulate, pull_back
from imrt_core.patient import DisplacementField, RigidTransform, Volume
from registration import DeformableMatch, RigidMatch

from ..codec import read_npz, read_value_json
from ..course_record import DeliveryRecord
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
    earlier = [f for f in (_delivered(f) for f in fraction.course.fractions() if f.number < fraction.number) if f]
    return accumulated_to(
        fraction.number,
        earlier,
        today,
        _map(match, deformation),
        delivered_today=fraction.delivery(),
        planned_course_gy=planned_course_gy,
        planned_fractions=plan.plan.fractions_planned,
        not_delivered=_not_delivered(fraction),
    )


def earlier_findings(fraction: FractionFolder) -> tuple[tuple[Finding, ...], ...]:
    """Return the findings of the decisions of all earlier fractions, oldest first."""
    return tuple(
        read_value_json(f.output("decision", ".json")).findings
        for f in fraction.course.fractions()
        if f.number < fraction.number and f.output("decision", ".json").is_file()
    )


@dataclass(frozen=True, eq=False)
class DeliveredFraction:
    """An earlier fraction as the store knows it.

    Parameters
    ----------
    number : int
        From 1.
    fraction_dose_gy : Volume
        Day frame, of the plan that was delivered.
    moving_from_fixed : DisplacementField or RigidTransform
        Planning points to points of the day.
    delivery : DeliveryRecord or None
        None: assumed.
    """

    number: int
    fraction_dose_gy: Volume
    moving_from_fixed: DisplacementField | RigidTransform
    delivery: DeliveryRecord | None


def accumulated_to(
    number: int,
    earlier: Sequence[DeliveredFraction],
    today: DayDose,
    today_from_fixed: DisplacementField | RigidTransform,
    *,
    delivered_today: DeliveryRecord | None,
    planned_course_gy: Volume,
    planned_fractions: int,
    not_delivered: frozenset[int] = frozenset(),
) -> tuple[Accumulation, tuple[str, ...]]:
    """Sum what was delivered before fraction ``number`` (and in it, where recorded) and project to the end.

    A fraction without an image of its own takes the dose of the nearest earlier one that has one, or of the plan; it
    is "assumed", as is everything that was not recorded.

    Parameters
    ----------
    number : int
        Today's fraction.
    earlier : sequence of DeliveredFraction
        Computed fractions before today.
    today, today_from_fixed
        Today's dose, day frame, and the map from planning to day.
    delivered_today : DeliveryRecord or None
        A record of today's delivery: then today counts as delivered.
    planned_course_gy : Volume
        Baseline, planning frame.
    planned_fractions : int
        Of the course.
    not_delivered : frozenset of int
        Numbers of fractions recorded as not delivered.

    Returns
    -------
    Accumulation, tuple of str
        With sentences on what was assumed.
    """
    grid = planned_course_gy.grid
    planned_gy = planned_course_gy.with_array(planned_course_gy.array / np.float32(planned_fractions))
    by_number = {fraction.number: fraction for fraction in earlier}
    pulled: dict[int, Volume] = {}
    fractions: list[FractionDose] = []
    standing_in: dict[int, list[int]] = {}
    source = 0
    for n in range(1, number):
        if n in by_number:
            source = n
        if n in not_delivered:
            continue
        if source not in pulled:
            pulled[source] = _pulled(by_number[source], planned_gy) if source else planned_gy
        recorded = n in by_number and by_number[n].delivery is not None
        if n not in by_number:
            standing_in.setdefault(source, []).append(n)
        fractions.append(
            FractionDose(
                number=n, dose_gy=pulled[source], moving_from_fixed=RigidTransform.identity(), assumed=not recorded
            )
        )
    today_gy = _filled(pull_back(today.fraction_dose_gy, today_from_fixed, grid=grid), planned_gy)
    if delivered_today is not None and delivered_today.delivered != "none":
        fractions.append(FractionDose(number=number, dose_gy=today_gy, moving_from_fixed=RigidTransform.identity()))
    notes = [
        f"fractions {_ranges(numbers)} have no image: assumed as " + (f"fx{source:02d}" if source else "planned")
        for source, numbers in sorted(standing_in.items())
    ]
    result = accumulate(
        fractions,
        grid=grid,
        planned_fractions=planned_fractions,
        remaining_fraction_gy=today_gy,
        planned_fraction_gy=planned_gy,
    )
    return result, tuple(notes)


def _pulled(fraction: DeliveredFraction, planned_gy: Volume) -> Volume:
    dose = pull_back(fraction.fraction_dose_gy, fraction.moving_from_fixed, grid=planned_gy.grid)
    return _filled(dose, planned_gy)


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


def _delivered(fraction: FractionFolder) -> DeliveredFraction | None:
    """Read an earlier fraction; None if its dose is not there."""
    delivery = fraction.delivery()
    dose: DayDose | Withheld = _output(fraction, "dose_of_day", Withheld("not computed"))
    if isinstance(dose, Withheld):
        return None
    dose_gy = dose.fraction_dose_gy
    if delivery is not None and delivery.plan_uid:
        adapted: PlanForDay = _output(fraction, "plan_of_day", PlanForDay("kept", ""))
        if adapted.plan is not None and adapted.plan.sop_instance_uid == delivery.plan_uid:
            dose_gy = adapted.fraction_dose_gy or dose_gy
    return DeliveredFraction(
        number=fraction.number,
        fraction_dose_gy=dose_gy,
        moving_from_fixed=_map(
            read_npz(fraction.output("rigid_match", ".npz")), read_npz(fraction.output("deformation", ".npz"))
        ),
        delivery=delivery,
    )


def _output(fraction: FractionFolder, asset: str, otherwise: Any) -> Any:
    path = fraction.output(asset, ".npz")
    return read_npz(path) if path.is_file() else otherwise


def _map(match: RigidMatch, deformation: DeformableMatch | Withheld) -> DisplacementField | RigidTransform:
    return match.moving_from_fixed if isinstance(deformation, Withheld) else deformation.moving_from_fixed


def _not_delivered(fraction: FractionFolder) -> frozenset[int]:
    folders = (fraction.course.fraction(n) for n in range(1, fraction.number))
    return frozenset(f.number for f in folders if (d := f.delivery()) is not None and d.delivered == "none")
