"""Dose of a plan whose beams are of several energies: a machine for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imrt_core.geometry.raytrace import ray_volume
from imrt_core.machine import Machine
from imrt_core.patient import Beam, Grid, MachineError, Plan, PlanError, Volume

from .delivered import BeamDose, PlanDose, plan_dose


def mixed_plan_dose(
    plan: Plan,
    red: Volume,
    machines: Sequence[Machine],
    *,
    dose_grid: Grid,
    patient_position: str,
    engine: str = "collapsed-cone",
    keep_beams: bool = False,
) -> PlanDose:
    """Compute the dose of one fraction, each beam with the machine of its energy and fluence mode.

    Parameters
    ----------
    plan, red, dose_grid, patient_position, engine, keep_beams
        As in :func:`imrt_core.dose.plan_dose`.
    machines : sequence of Machine
        One for each beam quality; those that no beam needs are left out.

    Returns
    -------
    PlanDose
        Beams in the order of the plan, warnings of all, models joined by commas.

    Raises
    ------
    MachineError
        If there is no machine, or two are of the same quality.
    PlanError
        If no machine is of a beam's quality; else as :func:`imrt_core.dose.plan_dose`.
    """
    if not machines:
        raise MachineError("a dose needs a machine", found="none")
    if len(machines) == 1:
        return plan_dose(
            plan,
            red,
            machines[0],
            dose_grid=dose_grid,
            patient_position=patient_position,
            engine=engine,
            keep_beams=keep_beams,
        )
    by_quality: dict[tuple[float, str], Machine] = {}
    for machine in machines:
        quality = _quality_of(machine)
        if quality in by_quality:
            raise MachineError(
                "two machines for one beam quality",
                found=f"{by_quality[quality].name} and {machine.name}, {quality[0]:g} MV {quality[1]}",
                expected="one for each energy and fluence mode",
            )
        by_quality[quality] = machine
    shares: dict[tuple[float, str], list[Beam]] = {}
    for beam in plan.beams:
        quality = (round(beam.nominal_energy_mv, 1), beam.fluence_mode)
        if quality not in by_quality:
            raise PlanError(
                "no machine is of the beam's quality",
                found=f"{quality[0]:g} MV {quality[1]}",
                expected=", ".join(f"{mv:g} MV {mode} ({m.name})" for (mv, mode), m in by_quality.items()),
                where=f"beam {beam.name}",
            )
        shares.setdefault(quality, []).append(beam)
    rays = ray_volume(red)
    doses = [
        plan_dose(
            replace(plan, beams=tuple(beams)),
            red,
            by_quality[quality],
            dose_grid=dose_grid,
            patient_position=patient_position,
            engine=engine,
            rays=rays,
            keep_beams=keep_beams,
        )
        for quality, beams in shares.items()
    ]
    computed: dict[int, BeamDose] = {}
    for beams, dose in zip(shares.values(), doses, strict=True):
        computed.update({id(beam): of for beam, of in zip(beams, dose.beams, strict=True)})
    first = doses[0].fraction_dose_gy
    return PlanDose(
        first.with_array(sum((dose.fraction_dose_gy.array for dose in doses[1:]), start=first.array)),
        tuple(computed[id(beam)] for beam in plan.beams),
        tuple(dict.fromkeys(warning for dose in doses for warning in dose.warnings)),
        ", ".join(dose.model for dose in doses),
        engine,
    )


def _quality_of(machine: Machine) -> tuple[float, str]:
    return round(machine.model.nominal_energy_mv, 1), machine.model.fluence_mode
