"""Objectives by the short names that protocol files use."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from imrt_core.patient import ProtocolError

from .base import Objective
from .dvh_point import MaxDvh, MinDvh
from .geud import GEUD
from .mean_dose import MeanDose
from .squared_deviation import SquaredDeviation
from .squared_overdose import SquaredOverdose
from .squared_underdose import SquaredUnderdose

#: Every objective that a protocol can name, by its short name. A new one is added to this list and nowhere else.
OBJECTIVE_KINDS = {
    objective.kind: objective
    for objective in (SquaredOverdose, SquaredUnderdose, SquaredDeviation, MeanDose, MaxDvh, MinDvh, GEUD)
}


def objective_of_kind(kind: str, **parameters: Any) -> Objective:
    """Build an objective from its short name.

    Parameters
    ----------
    kind : str
        One of :data:`OBJECTIVE_KINDS`.
    **parameters
        The fields of that objective, by name.

    Raises
    ------
    ProtocolError
        If the kind is unknown, a parameter that it needs is missing, it has no such parameter, or a value is refused.
    """
    where = str(parameters.get("structure", ""))
    if kind not in OBJECTIVE_KINDS:
        raise ProtocolError("unknown kind of objective", found=kind, expected=", ".join(OBJECTIVE_KINDS), where=where)
    known = {field.name: field.default is MISSING for field in fields(OBJECTIVE_KINDS[kind])}
    if missing := [name for name, needed in known.items() if needed and name not in parameters]:
        raise ProtocolError(f"an objective of kind {kind} needs {', '.join(missing)}", where=where)
    if unknown := sorted(set(parameters) - set(known)):
        raise ProtocolError(
            f"an objective of kind {kind} has no such parameter",
            found=", ".join(unknown),
            expected=", ".join(known),
            where=where,
        )
    return OBJECTIVE_KINDS[kind](**parameters)
