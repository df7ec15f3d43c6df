"""Dose of a plan as it is delivered: jaws, leaves and their transmission, static, dynamic and arcs.

Two engines, one beam model: collapsed cone (:mod:`imrt_core.dose.collapsed_cone`) for every dose that a decision
rests on, and pencil kernels (:mod:`imrt_core.dose.pencil_beam`), which are what the influence matrix is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.raytrace import RayVolume, ray_depths, rays_of, source_skin_distance_mm
from imrt_core.machine import BeamModel, Machine
from imrt_core.patient import Beam, Grid, Plan, PlanError, Volume

from .collapsed_cone import cell_for, direction_dose
from .fluence import FluenceMap, fluence_maps
from .grids import TISSUE_LEVEL, body_mask
from .pencil_beam import add_pencil_dose

ENGINES = ("collapsed-cone", "beamlet")


@dataclass(frozen=True)
class BeamDose:
    """What one beam does, per fraction.

    Parameters
    ----------
    name : str
        Beam name.
    mu : float
        Meterset.
    dose_at_isocentre_gy : float
        At the isocentre of its first control point.
    dose_at_point_gy : float or None
        At the Beam Dose Specification Point; None where the plan states none.
    ssd_mm : float
        Source-skin distance on the axis; for an arc the mean, weighted by MU.
    radiological_depth_mm : float
        Of the isocentre; for an arc the mean, weighted by MU.
    fraction_dose_gy : Volume or None
        The beam's part of the dose; None unless it was asked for.
    """

    name: str
    mu: float
    dose_at_isocentre_gy: float
    dose_at_point_gy: float | None
    ssd_mm: float
    radiological_depth_mm: float
    fraction_dose_gy: Volume | None = None

    def scaled(self, factor: float) -> BeamDose:
        """Return the figures for another meterset."""
        part, at_point = self.fraction_dose_gy, self.dose_at_point_gy
        return replace(
            self,
            mu=factor * self.mu,
            dose_at_isocentre_gy=factor * self.dose_at_isocentre_gy,
            dose_at_point_gy=None if at_point is None else factor * at_point,
            fraction_dose_gy=None if part is None else part.with_array(np.float32(factor) * part.array),
        )


@dataclass(frozen=True, eq=False)
class PlanDose:
    """Dose of one fraction of a plan.

    Parameters
    ----------
    fraction_dose_gy : Volume
        Dose to water in Gy; zero outside the body.
    beams : tuple of BeamDose
        In the order of the plan.
    warnings : tuple of str
        A beam model that is not validated, and where the dose leaves the range that it was commissioned for.
    model : str
        Name and version of the beam model.
    engine : str
        ``"collapsed-cone"`` or ``"beamlet"``.
    """

    fraction_dose_gy: Volume
    beams: tuple[BeamDose, ...]
    warnings: tuple[str, ...]
    model: str
    engine: str


def plan_dose(
    plan: Plan,
    red: Volume,
    machine: Machine,
    *,
    dose_grid: Grid,
    patient_position: str,
    engine: str = "collapsed-cone",
    rays: RayVolume | None = None,
    keep_beams: bool = False,
) -> PlanDose:
    """Compute the dose of one fraction of a plan.

    Parameters
    ----------
    plan : Plan
        Beams with metersets per fraction.
    red : Volume
        Electron density relative to water. Its grid may have any direction: the patient of the day after a rotated
        couch shift.
    machine : Machine
        Whose beam model is used. Leaf boundaries are the plan's.
    dose_grid : Grid
        Where dose is wanted.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    engine : str
        ``"collapsed-cone"`` or ``"beamlet"`` (pencil kernels, for comparison and inside the optimiser).
    rays : RayVolume or None
        ``ray_volume(red)``, where several plans of one patient are computed: what their beams have in common is then
        found once.
    keep_beams : bool
        Keep the dose distribution of every beam.

    Returns
    -------
    PlanDose
        Absolute dose, and what each beam does.

    Raises
    ------
    PlanError
        If the engine is unknown; a beam is not photons, carries a wedge, block or the like, has no MU, another
        energy, fluence mode or source-axis distance than the model, never opens, misses the body; the isocentre is
        outside the patient; or the plan's patient position contradicts the given one.
    MachineError
        If a density is NaN, infinite or negative, or the model has no spectrum for the collapsed cone.
    """
    if engine not in ENGINES:
        raise PlanError("unknown dose engine", found=engine, expected=", ".join(ENGINES))
    if plan.patient_position is not None and plan.patient_position != patient_position:
        raise PlanError(
            "the plan was made for another patient position", found=patient_position, expected=plan.patient_position
        )
    model = machine.model
    for beam in plan.beams:
        _refuse_what_cannot_be_modelled(beam, model)
    rays = rays_of(red, rays)
    body = body_mask(red, dose_grid)
    for beam in plan.beams:
        _refuse_isocentre_outside(beam, red, body, dose_grid)

    k, j, i = np.nonzero(body)
    special = [beam.isocentre_lps for beam in plan.beams]
    special += [beam.beam_dose_point_lps or beam.isocentre_lps for beam in plan.beams]
    points = np.concatenate([dose_grid.to_lps(np.stack([i, j, k], axis=-1)), np.array(special)])
    total = np.zeros(len(points), dtype=np.float32)
    beams: list[BeamDose] = []
    warnings: list[str] = [*model.validity_warnings]
    inside = len(k)

    def distributed(values: NDArray[np.float32]) -> Volume:
        array = np.zeros(dose_grid.shape, dtype=np.float32)
        array[body] = values[:inside]
        return Volume(array, dose_grid)

    cell_mm = cell_for(dose_grid)
    for number, beam in enumerate(plan.beams):
        maps = fluence_maps(beam, model, patient_position=patient_position, leaves=machine.leaf_model)
        dose = np.zeros(len(points), dtype=np.float32)
        seen, found = False, []
        for fluence in maps:
            if engine == "collapsed-cone":
                direction = direction_dose(model, rays, fluence, points, cell_mm=cell_mm)
                deepest_mm = direction.deepest_mm
                dose += direction.gy
            else:
                deepest_mm = add_pencil_dose(model, rays, fluence, points, dose)
            seen |= deepest_mm > 0
            found += _outside_commissioned_range(beam, model, fluence, deepest_mm)
        if not seen:
            raise PlanError("the beam misses the patient", where=f"beam {beam.name}")
        total += dose
        warnings += dict.fromkeys(found)
        beams.append(
            BeamDose(
                name=beam.name,
                mu=beam.mu,
                dose_at_isocentre_gy=float(dose[inside + number]),
                dose_at_point_gy=(
                    None if beam.beam_dose_point_lps is None else float(dose[inside + len(plan.beams) + number])
                ),
                **_axis_figures(rays, maps),
                fraction_dose_gy=distributed(dose) if keep_beams else None,
            )
        )
    return PlanDose(distributed(total), tuple(beams), tuple(warnings), f"{model.name} {model.version}", engine)


def _refuse_what_cannot_be_modelled(beam: Beam, model: BeamModel) -> None:
    where = f"beam {beam.name}"
    if beam.radiation_type.upper() != "PHOTON":
        raise PlanError("only photon beams can be computed", found=beam.radiation_type, expected="PHOTON", where=where)
    if beam.unsupported:
        raise PlanError("the beam has devices that are not modelled", found=", ".join(beam.unsupported), where=where)
    if not beam.mu > 0:
        raise PlanError("the beam has no MU", found=f"{beam.mu} MU", where=where)
    if abs(beam.nominal_energy_mv - model.nominal_energy_mv) > 0.1 or beam.fluence_mode != model.fluence_mode:
        raise PlanError(
            "the beam model is for another beam quality",
            found=f"{beam.nominal_energy_mv:g} MV {beam.fluence_mode}",
            expected=f"{model.nominal_energy_mv:g} MV {model.fluence_mode} ({model.name} {model.version})",
            where=where,
        )
    if abs(beam.sad_mm - model.sad_mm) > 1.0:
        raise PlanError(
            "the source-axis distance is not the model's",
            found=f"{beam.sad_mm:g} mm",
            expected=f"{model.sad_mm:g} mm",
            where=where,
        )


def _refuse_isocentre_outside(beam: Beam, red: Volume, body: NDArray[np.bool_], grid: Grid) -> None:
    for point in {cp.isocentre_lps for cp in beam.control_points}:
        i, j, k = np.rint(grid.to_index(point)).astype(int)
        tissue = float(red.sample(point, outside=0.0)) >= TISSUE_LEVEL
        within = bool(body[k, j, i]) if grid.contains(point) else tissue
        if not within:
            raise PlanError(
                "the isocentre is outside the patient",
                found=f"LPS ({point[0]:.1f}, {point[1]:.1f}, {point[2]:.1f}) mm",
                where=f"beam {beam.name}",
            )


def _outside_commissioned_range(beam: Beam, model: BeamModel, fluence: FluenceMap, deepest_mm: float) -> list[str]:
    limits = model.commissioned
    rows, columns = np.nonzero(fluence.open_cells)
    cell = np.diff(fluence.edges_u_mm[:2])[0]
    side = float(np.sqrt(len(rows)) * cell)
    found = []
    if not limits.field_mm[0] <= side <= limits.field_mm[1]:
        found.append(
            f"beam {beam.name}: opening of {side:.0f} mm equivalent side, commissioned {limits.field_mm[0]:.0f} to "
            f"{limits.field_mm[1]:.0f} mm"
        )
    centres_u, centres_v = fluence.edges_u_mm[:-1] + cell / 2, fluence.edges_v_mm[:-1] + cell / 2
    radius = float(np.hypot(centres_u[columns], centres_v[rows]).max(initial=0.0))
    if radius > limits.off_axis_mm:
        found.append(f"beam {beam.name}: open {radius:.0f} mm off axis, commissioned to {limits.off_axis_mm:.0f} mm")
    # A millimetre of a tank edge between two cells is no depth of its own.
    if deepest_mm > limits.depth_mm[1] + 1.0:
        found.append(f"beam {beam.name}: dose {deepest_mm:.0f} mm deep, commissioned to {limits.depth_mm[1]:.0f} mm")
    return found


def _axis_figures(rays: RayVolume, maps: list[FluenceMap]) -> dict[str, float]:
    weight = np.array([m.meterset for m in maps])
    ssd = [source_skin_distance_mm(rays, m.beam) for m in maps]
    depth = [ray_depths(rays, m.beam.source_lps, m.beam.isocentre_lps)[0] for m in maps]
    return {
        "ssd_mm": float(np.average(ssd, weights=weight)),
        "radiological_depth_mm": float(np.average(depth, weights=weight)),
    }
