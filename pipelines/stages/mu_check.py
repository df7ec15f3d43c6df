"""The independent MU check of plans: which measured tables belong to a machine, and the call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imrt_core.check import CheckTables, load_tables, shipped_tables
from imrt_core.dose import BeamDose
from imrt_core.evaluate.mu_check import MuCheck, check_metersets
from imrt_core.machine import Machine
from imrt_core.patient import Plan, Volume

from ..home import check_tables_folder


def tables_of(machines: Sequence[Machine]) -> tuple[CheckTables, ...]:
    """Return the measured tables of machines, by their names: the clinic's own, else those that ship.

    A machine without tables is left out; its beams are then not checked.

    Raises
    ------
    MachineError
        If a clinic's file of tables is not valid.
    """
    found = []
    for machine in machines:
        own = check_tables_folder() / f"{Path(machine.name).name}.toml"
        if own.is_file():
            found.append(load_tables(own))
        elif machine.name in shipped_tables():
            found.append(load_tables(machine.name))
    return tuple(found)


def mu_check_of(
    plan: Plan,
    red: Volume,
    machines: Sequence[Machine],
    *,
    fraction_dose_gy: Volume,
    computed: Sequence[BeamDose],
    patient_position: str,
) -> MuCheck:
    """Check the metersets of a plan against the tables of its machines.

    The other arguments are those of :func:`imrt_core.evaluate.mu_check.check_metersets`.

    Raises
    ------
    MachineError
        As :func:`tables_of`.
    """
    return check_metersets(
        plan,
        red,
        tables_of(machines),
        fraction_dose_gy=fraction_dose_gy,
        computed=computed,
        patient_position=patient_position,
    )
