"""Leaf sequencing: a fluence map becomes sliding-window or step-and-shoot apertures that a collimator can make.

Both techniques sweep the leaf pairs in one direction, which delivers a profile with the fewest MU [1]_ [2]_ [3]_. The
time at which the trailing leaf passes a point minus the time at which the leading leaf passed it is the fluence there;
wherever the fluence rises the leading leaf moves at full speed, wherever it falls the trailing one does. Collimators
that cannot interdigitate get rows delayed until no leaf passes the opposing leaf of its neighbour [3]_ [4]_. What the
control points really deliver (gap, transmission, sampling) is integrated, and the difference is fed back.

Limits of this version: leaves move along one direction only, tongue and groove is not modelled, carriages do not
split: a field that needs more than the leaf span is refused.

References
----------
.. [1] R. Svensson, P. Källman, A. Brahme, Phys. Med. Biol. 39, 37–61, 1994, doi:10.1088/0031-9155/39/1/003.
.. [2] S. V. Spirou, C. S. Chui, Med. Phys. 21, 1031–1041, 1994, doi:10.1118/1.597345.
.. [3] S. Kamath, S. Sahni, J. Li, J. Palta, S. Ranka, Phys. Med. Biol. 48, 307–324, 2003,
   doi:10.1088/0031-9155/48/3/303.
.. [4] J. P. C. van Santvoort, B. J. M. Heijmen, Phys. Med. Biol. 41, 2091–2105, 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from imrt_core.machine import DeliveryLimits
from imrt_core.patient import ControlPoint, MultileafCollimator, PlanError

from .fluence_map import FloatArray, FluenceMap, delivered_fluence
from .leaf_sweep import LeafField, sliding_window, step_and_shoot

#: Static segments that open less are not worth their time.
MINIMUM_SEGMENT_AREA_MM2 = 100.0
#: Rounds of feeding the difference between wanted and delivered fluence back.
_FEEDBACK_ROUNDS = 4


class Technique(StrEnum):
    """How the leaves move while the beam is on."""

    SLIDING_WINDOW = "sliding-window"
    STEP_AND_SHOOT = "step-and-shoot"


@dataclass(frozen=True, eq=False)
class LeafSequence:
    """A deliverable field.

    Parameters
    ----------
    technique : Technique
        How the leaves move.
    mu : float
        MU per fraction.
    cumulative_mu : ndarray, shape (control points,)
        From 0 to ``mu``.
    leaves_mm : ndarray, shape (control points, 2, pairs)
        Leaf positions at the isocentre plane.
    jaw_x_mm, jaw_y_mm : tuple of float
        Fixed jaws around the aperture.
    delivered : FluenceMap
        What the control points deliver, on the bixels of the wanted map.
    error_mu : float
        Root mean square of delivered minus wanted fluence over the bixels inside the jaws.
    segments : int
        Static segments, or intervals between control points of a sliding window.
    seconds : float
        Beam-on time, with leaf travel between static segments.
    dose_rate_mu_per_min : float
        Dose rate that the times assume.
    closed_mu : float
        What arrives inside the jaws where leaves never open: transmission and, where closed pairs sweep, their gap.
    """

    technique: Technique
    mu: float
    cumulative_mu: FloatArray
    leaves_mm: FloatArray
    jaw_x_mm: tuple[float, float]
    jaw_y_mm: tuple[float, float]
    delivered: FluenceMap
    error_mu: float
    segments: int
    seconds: float
    dose_rate_mu_per_min: float
    closed_mu: float

    def control_points(
        self,
        *,
        gantry_deg: float,
        isocentre_lps: tuple[float, float, float],
        collimator_deg: float = 0.0,
        table_deg: float = 0.0,
    ) -> tuple[ControlPoint, ...]:
        """Return the control points of a static-gantry beam."""
        return tuple(
            ControlPoint(
                cumulative_weight=float(mu / self.mu),
                gantry_deg=gantry_deg,
                isocentre_lps=isocentre_lps,
                collimator_deg=collimator_deg,
                table_deg=table_deg,
                jaw_x_mm=self.jaw_x_mm,
                jaw_y_mm=self.jaw_y_mm,
                leaves_mm=leaves,
                dose_rate_mu_per_min=self.dose_rate_mu_per_min,
            )
            for mu, leaves in zip(self.cumulative_mu, self.leaves_mm, strict=True)
        )


def sequence(
    fluence: FluenceMap,
    mlc: MultileafCollimator,
    limits: DeliveryLimits,
    *,
    transmission: float = 0.0,
    dose_rate_mu_per_min: float | None = None,
    technique: Technique | str = Technique.SLIDING_WINDOW,
    control_points: int = 80,
    levels: int = 10,
    minimum_segment_area_mm2: float = MINIMUM_SEGMENT_AREA_MM2,
) -> LeafSequence:
    """Turn a fluence map into leaf positions.

    Parameters
    ----------
    fluence : FluenceMap
        Wanted fluence (what should arrive below the collimator, transmission included). Rows need not be as wide as
        the leaves: a pair gets the mean over the bixels that it covers.
    mlc : MultileafCollimator
        Leaf boundaries and direction of travel.
    limits : DeliveryLimits
        What leaves, jaws and the dose-rate control can do.
    transmission : float
        Share of the fluence through closed leaves.
    dose_rate_mu_per_min : float
        Dose rate of the delivery, at most the machine's highest (the default): with the leaf speed it sets how far
        leaves travel per MU. A lower rate takes longer and needs fewer MU for a sliding window.
    technique : Technique
        Sliding window (leaves move while the beam is on) or step and shoot (static segments).
    control_points : int
        Control points of a sliding window, evenly spaced in MU.
    levels : int
        Largest number of intensity levels of step and shoot; fewer where a level would be below the minimum MU of a
        segment.
    minimum_segment_area_mm2 : float
        Static segments that open less are left out.

    Returns
    -------
    LeafSequence
        Limits obeyed.

    Raises
    ------
    PlanError
        If the map is empty, lies beyond leaves or jaws, or needs more than the leaf span or the MU of a beam.
    """
    technique = Technique(technique)
    dose_rate = limits.dose_rate_mu_per_min if dose_rate_mu_per_min is None else dose_rate_mu_per_min
    if not 0.0 < dose_rate <= limits.dose_rate_mu_per_min:
        raise PlanError(
            "the machine has no such dose rate",
            found=f"{dose_rate} MU/min",
            expected=f"> 0 and <= {limits.dose_rate_mu_per_min} MU/min",
        )
    travel_mm_per_mu = limits.leaf_speed_mm_per_s * 60.0 / dose_rate
    wanted = fluence if mlc.axis == "X" else fluence.transposed()
    along = MultileafCollimator(mlc.boundaries_mm, axis="X")
    field = LeafField.around(wanted, along, limits)
    exposure = field.pair_fluence.copy()
    best: tuple[float, FloatArray, FloatArray, FluenceMap] | None = None
    for _ in range(_FEEDBACK_ROUNDS):
        if technique is Technique.SLIDING_WINDOW:
            leaves, cumulative = sliding_window(
                field, exposure, limits, control_points, travel_mm_per_mu=travel_mm_per_mu
            )
        else:
            leaves, cumulative = step_and_shoot(
                field, exposure, limits, levels, minimum_area_mm2=minimum_segment_area_mm2
            )
        delivered = delivered_fluence(
            leaves,
            cumulative,
            along,
            x_edges_mm=wanted.x_edges_mm,
            y_edges_mm=wanted.y_edges_mm,
            jaw_x_mm=field.jaw_x_mm,
            jaw_y_mm=field.jaw_y_mm,
            transmission=transmission,
        )
        difference = (wanted.mu - delivered.mu)[field.rows, field.columns]
        error = float(np.sqrt(np.mean(difference**2)))
        if best is None or error < best[0]:
            best = (error, leaves, cumulative, delivered)
        exposure = np.maximum(exposure + field.pair_mean(difference), 0.0)
    assert best is not None
    error, leaves, cumulative, delivered = best
    jaw_x_mm, jaw_y_mm = field.jaw_x_mm, field.jaw_y_mm
    if mlc.axis == "Y":
        jaw_x_mm, jaw_y_mm = jaw_y_mm, jaw_x_mm
    check_machine(leaves, jaw_x_mm, jaw_y_mm, float(cumulative[-1]), limits)
    swept_mu = limits.leaf_gap_mm / travel_mm_per_mu if technique is Technique.SLIDING_WINDOW else 0.0
    return LeafSequence(
        technique=technique,
        mu=float(cumulative[-1]),
        cumulative_mu=cumulative,
        leaves_mm=leaves,
        jaw_x_mm=jaw_x_mm,
        jaw_y_mm=jaw_y_mm,
        delivered=delivered if mlc.axis == "X" else delivered.transposed(),
        error_mu=error,
        segments=len(cumulative) - 1 if technique is Technique.SLIDING_WINDOW else len(cumulative) // 2,
        seconds=delivery_seconds(leaves, cumulative, limits, dose_rate),
        dose_rate_mu_per_min=dose_rate,
        closed_mu=transmission * float(cumulative[-1]) + (1.0 - transmission) * swept_mu,
    )


def check_machine(
    leaves_mm: FloatArray,
    jaw_x_mm: tuple[float, float],
    jaw_y_mm: tuple[float, float],
    mu: float,
    limits: DeliveryLimits,
) -> None:
    """Refuse what the machine cannot do."""
    span = float(np.ptp(leaves_mm, axis=2).max())
    if span > limits.leaf_span_mm + 1e-6:
        raise PlanError(
            "the field needs more than the leaf span",
            found=f"{span:.0f} mm between leaves of one bank",
            expected=f"<= {limits.leaf_span_mm:.0f} mm",
        )
    extents = (
        ("leaves", float(leaves_mm.min()), float(leaves_mm.max()), limits.leaf_range_mm),
        ("jaws X", *jaw_x_mm, limits.jaw_x_mm),
        ("jaws Y", *jaw_y_mm, limits.jaw_y_mm),
    )
    for device, lowest, highest, (low, high) in extents:
        if lowest < low - 1e-6 or highest > high + 1e-6:
            raise PlanError(
                f"{device} would leave their range",
                found=f"{lowest:.1f} … {highest:.1f} mm",
                expected=f"{low:.0f} … {high:.0f} mm",
            )
    if mu > limits.maximum_beam_mu:
        raise PlanError(
            "the field needs more MU than a beam may have",
            found=f"{mu:.0f} MU",
            expected=f"<= {limits.maximum_beam_mu:.0f} MU",
        )


def delivery_seconds(
    leaves_mm: FloatArray, cumulative_mu: FloatArray, limits: DeliveryLimits, dose_rate: float
) -> float:
    """Beam-on time plus, where leaves move with the beam off, their travel at full speed."""
    beam_on = float(cumulative_mu[-1]) * 60.0 / dose_rate
    static = np.diff(cumulative_mu) <= 0
    travel = np.abs(np.diff(leaves_mm, axis=0)).max(axis=(1, 2))
    return beam_on + float(travel[static].sum()) / limits.leaf_speed_mm_per_s
