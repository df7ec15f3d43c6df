"""3D conformal plans: the baseline that intensity-modulated plans are compared with.

Every beam opens around the projected targets with a margin; nothing is blocked. Several dose levels get a
field-in-field boost: each beam has one aperture around all targets and one around those of every higher level alone.
Collapsed-cone dose of every aperture; weights by non-negative least squares for homogeneous targets, with a weak pull
on the means of organs; normalised and judged as every other plan is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import plan_dose
from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume, ray_volume
from imrt_core.machine import Machine
from imrt_core.patient import Beam, ControlPoint, Goal, Grid, Plan, ProtocolError, StructureSet, Volume

from .conformal_aperture import ConformalAperture, conformal_aperture, outline_points_lps
from .conformal_weights import aperture_mu, least_squares_rows
from .delivery import RESEARCH_LABEL, PlanIdentity, SequencedBeam, assemble_plan
from .fluence_map import delivered_fluence
from .judge import Judge, judged_plan
from .plan_types import BeamDirection, PlanProgress, PlanResult, PlanSettings
from .problem import PlanningVoxels, covering_grid
from .sequencing import LeafSequence, Technique, check_machine, delivery_seconds

FloatArray = NDArray[np.float64]

#: MU of an aperture while its dose is computed.
_UNIT_MU = 100.0
_BIXEL_MM = 5.0


@dataclass(frozen=True, eq=False)
class ConformalField:
    """One aperture of a beam: around the targets prescribed ``level_gy`` or more."""

    beam: int
    level_gy: float
    geometry: BeamGeometry
    aperture: ConformalAperture


def make_conformal_plan(
    red: Volume,
    structures: StructureSet,
    machine: Machine,
    *,
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    fractions: int,
    beams: Sequence[BeamDirection],
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    margin_mm: float = 7.0,
    settings: PlanSettings | None = None,
    dose_grid: Grid | None = None,
    label: str = RESEARCH_LABEL,
    plan_uid: str = "",
    progress: Callable[[PlanProgress], None] | None = None,
) -> PlanResult:
    """Plan 3D conformal radiotherapy with static fields.

    Parameters
    ----------
    red, structures, machine, goals, prescription_gy, fractions, beams, isocentre_lps, patient_position
        As for :func:`imrt_core.optimize.make_plan`.
    margin_mm : float
        Around the projected targets on the isocentre plane, for the penumbra.
    settings : PlanSettings, optional
        Grids, dose rate and engine; the rest belongs to intensity modulation.
    dose_grid, label, plan_uid, progress
        As for :func:`imrt_core.optimize.make_plan`.

    Returns
    -------
    PlanResult
        ``objective`` is that of the least squares, ``iterations`` how often they were solved: again without the
        segments that came out below the machine's minimum. Stage ``influence`` is the dose of the apertures.

    Raises
    ------
    ProtocolError
        If there is no beam or fraction, or goals or prescription name structures without contours.
    PlanError
        If a field cannot be delivered, or no field is left.
    """
    settings = settings or PlanSettings()
    if fractions < 1 or not prescription_gy or not beams:
        raise ProtocolError(
            "a plan needs a prescription, fractions and a beam", found=f"{fractions} fractions, {len(beams)} beams"
        )
    targets = sorted(prescription_gy, key=lambda item: -item[1])
    names = [*dict.fromkeys([name for name, _ in targets] + [goal.structure for goal in goals])]
    absent = [name for name in names if name not in structures or structures[name].is_empty]
    if absent:
        raise ProtocolError(
            "goals or prescription name structures without contours",
            found=", ".join(structures.names),
            expected=", ".join(absent),
        )
    seconds = dict.fromkeys(("influence", "optimise", "sequence", "final_dose"), 0.0)
    started = perf_counter()

    def stage(name: str, then: str) -> None:
        nonlocal started
        if name:
            seconds[name] += perf_counter() - started
        started = perf_counter()
        if progress is not None and then:
            progress(PlanProgress(then))

    stage("", "influence")
    rays = ray_volume(red)
    fields = conformal_fields(structures, targets, machine, beams, isocentre_lps, patient_position, margin_mm=margin_mm)
    voxels, terms = least_squares_rows(red, structures, targets, names, settings)
    matrix = _aperture_doses(fields, voxels, red, rays, machine, patient_position, settings.engine)
    stage("influence", "optimise")
    solution = aperture_mu(matrix * fractions, voxels, terms, [f.beam for f in fields], machine.limits)
    stage("optimise", "sequence")
    sequenced = _sequenced(fields, solution.mu, machine, settings)
    identity = PlanIdentity(
        label=label,
        plan_uid=plan_uid,
        fractions_planned=fractions,
        prescription_gy=tuple(prescription_gy),
        frame_of_reference_uid=structures.frame_of_reference_uid,
        structure_set_uid=structures.sop_instance_uid,
        patient_position=patient_position,
    )
    stage("sequence", "final_dose")
    if dose_grid is None:
        spacing = (settings.dose_grid_mm,) * 3
        dose_grid = covering_grid(structures, names, spacing_mm=spacing, within=red.grid, margin_mm=10.0)
    forward = plan_dose(
        assemble_plan(sequenced, machine, identity),
        red,
        machine,
        dose_grid=dose_grid,
        patient_position=patient_position,
        engine=settings.engine,
        rays=rays,
        keep_beams=True,
    )
    verdict = Judge(structures, goals, prescription_gy, fractions, None, dose_grid).judge(forward.fraction_dose_gy)
    stage("final_dose", "")
    return judged_plan(
        assemble_plan(sequenced, machine, identity, scale=verdict.scale, dose=forward),
        verdict,
        forward,
        segments=sum(f.sequence.segments for f in sequenced),
        delivery_seconds=sum(f.sequence.seconds for f in sequenced) * max(verdict.scale, 1.0),
        objective=solution.objective,
        iterations=solution.solved,
        kkt_residual=solution.kkt_residual,
        stage_seconds=seconds,
    )


def conformal_fields(
    structures: StructureSet,
    prescription_gy: Sequence[tuple[str, float]],
    machine: Machine,
    beams: Sequence[BeamDirection],
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    *,
    margin_mm: float = 7.0,
) -> tuple[ConformalField, ...]:
    """Return the apertures: beam by beam, from the lowest dose level (all targets) to the highest alone.

    Raises
    ------
    PlanError
        If the machine cannot make an aperture: span, range, jaws.
    """
    levels = sorted({dose for _, dose in prescription_gy})
    walls = {name: outline_points_lps([structures[name]]) for name, _ in prescription_gy}
    fields = []
    for number, beam in enumerate(beams, start=1):
        geometry = BeamGeometry(
            beam.gantry_deg,
            isocentre_lps,
            patient_position,
            beam.collimator_deg,
            beam.table_deg,
            machine.model.sad_mm,
        )
        largest: ConformalAperture | None = None
        for level in levels:
            points = np.concatenate([walls[name] for name, dose in prescription_gy if dose >= level])
            aperture = conformal_aperture(
                points, geometry, machine.mlc, machine.limits, margin_mm=margin_mm, within=largest
            )
            largest = largest or aperture
            check_machine(aperture.leaves_mm[None], aperture.jaw_x_mm, aperture.jaw_y_mm, 0.0, machine.limits)
            fields.append(ConformalField(number, level, geometry, aperture))
    return tuple(fields)


def _aperture_doses(
    fields: Sequence[ConformalField],
    voxels: PlanningVoxels,
    red: Volume,
    rays: RayVolume,
    machine: Machine,
    patient_position: str,
    engine: str,
) -> FloatArray:
    """Gy per MU of every aperture, shape (rows, fields)."""
    beams = tuple(
        Beam(
            number=number,
            name=f"{number}",
            mu=_UNIT_MU,
            control_points=tuple(
                ControlPoint(
                    cumulative_weight=weight,
                    gantry_deg=field.geometry.gantry_deg,
                    isocentre_lps=field.geometry.isocentre_lps,
                    collimator_deg=field.geometry.collimator_deg,
                    table_deg=field.geometry.table_deg,
                    jaw_x_mm=field.aperture.jaw_x_mm,
                    jaw_y_mm=field.aperture.jaw_y_mm,
                    leaves_mm=field.aperture.leaves_mm,
                )
                for weight in (0.0, 1.0)
            ),
            nominal_energy_mv=machine.model.nominal_energy_mv,
            machine_name=machine.name,
            mlc=machine.mlc,
            sad_mm=machine.model.sad_mm,
            fluence_mode=machine.model.fluence_mode,
        )
        for number, field in enumerate(fields, start=1)
    )
    columns = np.empty((voxels.indices.size, len(beams)))
    for column, beam in enumerate(beams):
        dose = plan_dose(
            Plan((beam,)),
            red,
            machine,
            dose_grid=voxels.grid,
            patient_position=patient_position,
            engine=engine,
            rays=rays,
        )
        columns[:, column] = dose.fraction_dose_gy.array.ravel()[voxels.indices] / _UNIT_MU
    return columns


def _sequenced(
    fields: Sequence[ConformalField], mu: FloatArray, machine: Machine, settings: PlanSettings
) -> tuple[SequencedBeam, ...]:
    """Make step-and-shoot beams of the apertures with MU."""
    limits = machine.limits
    rate = min(settings.dose_rate_mu_per_min, limits.dose_rate_mu_per_min)
    made = []
    for number in dict.fromkeys(field.beam for field in fields):
        parts = [(f, m) for f, m in zip(fields, mu, strict=True) if f.beam == number and m > 0]
        if not parts:
            continue
        apertures = [field.aperture for field, _ in parts]
        # The same for all apertures of a beam: leaves alone shape the boost.
        jaw_x, jaw_y = apertures[0].jaw_x_mm, apertures[0].jaw_y_mm
        leaves = np.repeat(np.stack([a.leaves_mm for a in apertures]), 2, axis=0)
        ends = np.cumsum([m for _, m in parts])
        cumulative = np.repeat(np.concatenate([[0.0], ends]), 2)[1:-1]
        check_machine(leaves, jaw_x, jaw_y, float(ends[-1]), limits)
        edges = [np.linspace(*jaw, int(np.ceil((jaw[1] - jaw[0]) / _BIXEL_MM)) + 1) for jaw in (jaw_x, jaw_y)]
        delivered = delivered_fluence(
            leaves,
            cumulative,
            machine.mlc,
            x_edges_mm=edges[0],
            y_edges_mm=edges[1],
            jaw_x_mm=jaw_x,
            jaw_y_mm=jaw_y,
            transmission=machine.model.mlc_transmission,
        )
        sequence = LeafSequence(
            technique=Technique.STEP_AND_SHOOT,
            mu=float(ends[-1]),
            cumulative_mu=cumulative,
            leaves_mm=leaves,
            jaw_x_mm=jaw_x,
            jaw_y_mm=jaw_y,
            delivered=delivered,
            error_mu=0.0,
            segments=len(parts),
            seconds=delivery_seconds(leaves, cumulative, limits, rate),
            dose_rate_mu_per_min=rate,
            closed_mu=machine.model.mlc_transmission * float(ends[-1]),
        )
        made.append(SequencedBeam(number, parts[0][0].geometry, sequence))
    return tuple(made)
