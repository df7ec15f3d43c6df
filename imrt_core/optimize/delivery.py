"""From optimised fluence to the beams of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import PlanDose
from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.machine import Machine
from imrt_core.patient import Beam, Plan, PlanError

from .case import PlanningCase
from .fluence_map import FluenceMap
from .leaf_sweep import NEGLIGIBLE_FLUENCE
from .plan_types import PlanSettings
from .sequencing import LeafSequence, sequence

#: A label that nobody takes for the plan of record (DICOM allows 16 characters).
RESEARCH_LABEL = "RESEARCH igrt"
DESCRIPTION = "RESEARCH ONLY, not for treatment. Planned by igrt research software, UNAPPROVED."
#: A beam whose strongest bixel is below this share of the strongest of all beams is left out.
_NEGLIGIBLE_BEAM = 0.02
#: Static segments are made a little longer than the minimum, so that normalisation does not push them below it.
SEGMENT_RESERVE = 1.1


@dataclass(frozen=True)
class PlanIdentity:
    """What a plan says about itself; fields as in :class:`imrt_core.patient.Plan`."""

    label: str
    plan_uid: str
    fractions_planned: int
    prescription_gy: tuple[tuple[str, float], ...]
    frame_of_reference_uid: str
    structure_set_uid: str
    patient_position: str
    predecessor_uid: str = ""


@dataclass(frozen=True, eq=False)
class SequencedBeam:
    """A beam's direction and leaf sequence."""

    number: int
    geometry: BeamGeometry
    sequence: LeafSequence


def sequence_beams(
    case: PlanningCase,
    weights: NDArray[np.float64],
    machine: Machine,
    settings: PlanSettings,
    *,
    closed: NDArray[np.float64] | None = None,
) -> tuple[SequencedBeam, ...]:
    """Sequence every beam whose fluence is not negligible.

    ``weights`` are what leaves open for; ``closed`` is what arrives besides (:func:`closed_weights` of the round
    before). It opens no jaw.

    Raises
    ------
    PlanError
        If there is no fluence at all or a field cannot be delivered; the beam is named.
    """
    peak = float(weights.max(initial=0.0))
    limits = replace(machine.limits, minimum_segment_mu=SEGMENT_RESERVE * machine.limits.minimum_segment_mu)
    fields = []
    under_leaves = case.split(np.zeros_like(weights) if closed is None else closed)
    parts = zip(case.geometry, case.bixels_mm, case.split(weights), under_leaves, strict=True)
    for number, (geometry, centres, mu, closed_mu) in enumerate(parts, start=1):
        if mu.size == 0 or mu.max() < _NEGLIGIBLE_BEAM * peak:
            continue
        used = centres[mu > NEGLIGIBLE_FLUENCE * mu.max()]
        inside = np.all((centres >= used.min(axis=0)) & (centres <= used.max(axis=0)), axis=1)
        wanted = mu + np.where(inside, closed_mu, 0.0)
        fluence = FluenceMap.from_bixels(centres[:, 0], centres[:, 1], wanted, size_mm=(settings.bixel_mm,) * 2)
        try:
            leaves = sequence(
                fluence,
                machine.mlc,
                limits,
                transmission=machine.model.mlc_transmission,
                dose_rate_mu_per_min=min(settings.dose_rate_mu_per_min, limits.dose_rate_mu_per_min),
                technique=settings.technique,
                control_points=settings.control_points,
                levels=settings.levels,
            )
        except PlanError as error:
            raise PlanError(
                error.message,
                found=error.found,
                expected=error.expected,
                where=f"beam at gantry {geometry.gantry_deg:g}°",
            ) from error
        fields.append(SequencedBeam(number, geometry, leaves))
    if not fields:
        raise PlanError("the optimised plan has no fluence", found="no beam with fluence")
    return tuple(fields)


def closed_weights(case: PlanningCase, fields: Sequence[SequencedBeam]) -> NDArray[np.float64]:
    """Return what arrives at each bixel however little is wanted there: leaf transmission and the closed pairs' gap.

    MU per fraction, in the order of the matrix's columns; 0 behind the jaws and for beams without a field.
    """
    by_number = {field.number: field.sequence for field in fields}
    parts = []
    for number, centres in enumerate(case.bixels_mm, start=1):
        if number not in by_number:
            parts.append(np.zeros(len(centres)))
            continue
        leaves = by_number[number]
        inside = [
            (low < place) & (place < high)
            for place, (low, high) in zip(centres.T, (leaves.jaw_x_mm, leaves.jaw_y_mm), strict=True)
        ]
        parts.append(np.where(inside[0] & inside[1], leaves.closed_mu, 0.0))
    return np.concatenate(parts)


def delivered_weights(case: PlanningCase, fields: Sequence[SequencedBeam]) -> NDArray[np.float64]:
    """Return what the leaves deliver to each bixel, in the order of the matrix's columns; MU per fraction."""
    by_number = {field.number: field.sequence.delivered for field in fields}
    parts = []
    for number, centres in enumerate(case.bixels_mm, start=1):
        if number not in by_number:
            parts.append(np.zeros(len(centres)))
            continue
        fluence = by_number[number]
        column = np.searchsorted(fluence.x_edges_mm, centres[:, 0]) - 1
        row = np.searchsorted(fluence.y_edges_mm, centres[:, 1]) - 1
        parts.append(fluence.mu[row, column])
    return np.concatenate(parts)


def assemble_plan(
    fields: Sequence[SequencedBeam],
    machine: Machine,
    identity: PlanIdentity,
    *,
    scale: float = 1.0,
    dose: PlanDose | None = None,
) -> Plan:
    """Build the plan: UNAPPROVED, intent RESEARCH.

    Parameters
    ----------
    fields : sequence of SequencedBeam
        Beams in order.
    machine : Machine
        Names the beam model's energy.
    identity : PlanIdentity
        Labels, UIDs, prescription.
    scale : float
        Factor on all MU. Below 1 the dose rate falls with it, so that leaves keep their speed.
    dose : PlanDose
        Dose of the unscaled plan, for Beam Dose at the isocentre.
    """
    doses = [None] * len(fields) if dose is None else [scale * beam.dose_at_isocentre_gy for beam in dose.beams]
    beams = []
    for field, beam_dose_gy in zip(fields, doses, strict=True):
        angles = field.geometry
        points = field.sequence.control_points(
            gantry_deg=angles.gantry_deg,
            isocentre_lps=angles.isocentre_lps,
            collimator_deg=angles.collimator_deg,
            table_deg=angles.table_deg,
        )
        rate = field.sequence.dose_rate_mu_per_min * min(scale, 1.0)
        name = f"G{angles.gantry_deg:03.0f}" + (f"T{angles.table_deg:.0f}" if angles.table_deg else "")
        beams.append(
            Beam(
                number=field.number,
                name=name,
                mu=field.sequence.mu * scale,
                control_points=tuple(replace(p, dose_rate_mu_per_min=rate) for p in points),
                nominal_energy_mv=machine.model.nominal_energy_mv,
                machine_name=machine.name,
                mlc=machine.mlc,
                sad_mm=machine.model.sad_mm,
                beam_dose_gy=beam_dose_gy,
                beam_dose_point_lps=None if beam_dose_gy is None else angles.isocentre_lps,
                fluence_mode=machine.model.fluence_mode,
            )
        )
    return Plan(
        beams=tuple(beams),
        label=identity.label,
        fractions_planned=identity.fractions_planned,
        prescription_gy=identity.prescription_gy,
        sop_instance_uid=identity.plan_uid,
        frame_of_reference_uid=identity.frame_of_reference_uid,
        structure_set_uid=identity.structure_set_uid,
        patient_position=identity.patient_position,
        predecessor_uid=identity.predecessor_uid,
        description=DESCRIPTION,
    )
