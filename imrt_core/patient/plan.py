"""Treatment plans: beams, control points and collimation in IEC 61217, per fraction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError

#: Where a leaf pair moves along IEC X (DICOM MLCX) or IEC Y (MLCY) of the beam-limiting-device frame.
MLC_AXES = ("X", "Y")


@dataclass(frozen=True)
class MultileafCollimator:
    """Leaf geometry, projected to the isocentre plane.

    Parameters
    ----------
    boundaries_mm : tuple of float
        n + 1 leaf edges across the leaf travel, ascending (Leaf Position Boundaries).
    axis : str
        ``"X"`` or ``"Y"``: direction of leaf travel in the beam-limiting-device frame.
    """

    boundaries_mm: tuple[float, ...]
    axis: str = "X"

    def __post_init__(self) -> None:
        if self.axis not in MLC_AXES:
            raise PlanError("unknown leaf travel direction", found=self.axis, expected="X or Y")
        if len(self.boundaries_mm) < 2 or not (
            np.all(np.isfinite(self.boundaries_mm)) and all(b > a for a, b in pairwise(self.boundaries_mm))
        ):
            raise PlanError(
                "leaf boundaries must be finite and ascend",
                found=str(self.boundaries_mm[:6]),
                expected="n + 1 ascending edges, mm",
            )

    @property
    def pairs(self) -> int:
        """Number of leaf pairs."""
        return len(self.boundaries_mm) - 1


@dataclass(frozen=True, eq=False)
class ControlPoint:
    """The machine's state at one point of a beam, every value resolved (DICOM leaves unchanged ones out).

    Parameters
    ----------
    cumulative_weight : float
        Cumulative Meterset Weight divided by the final one: 0 … 1.
    gantry_deg, collimator_deg, table_deg : float
        IEC 61217 angles. ``table_deg`` is the Patient Support Angle.
    isocentre_lps : tuple of float
        Planning-CT frame, mm.
    jaw_x_mm, jaw_y_mm : tuple of float or None
        (negative side, positive side) at the isocentre plane; None where the device is absent.
    leaves_mm : ndarray, shape (2, pairs), or None
        Bank at the negative and at the positive side, mm at the isocentre plane.
    gantry_direction : str
        ``"NONE"``, ``"CW"`` or ``"CC"`` towards the next control point.
    dose_rate_mu_per_min : float or None
        Dose Rate Set.
    """

    cumulative_weight: float
    gantry_deg: float
    isocentre_lps: tuple[float, float, float]
    collimator_deg: float = 0.0
    table_deg: float = 0.0
    jaw_x_mm: tuple[float, float] | None = None
    jaw_y_mm: tuple[float, float] | None = None
    leaves_mm: NDArray[np.float64] | None = None
    gantry_direction: str = "NONE"
    dose_rate_mu_per_min: float | None = None

    def __post_init__(self) -> None:
        for name in ("gantry_deg", "collimator_deg", "table_deg", "isocentre_lps", "jaw_x_mm", "jaw_y_mm"):
            value = getattr(self, name)
            if value is not None and not np.all(np.isfinite(value)):
                raise PlanError("a control point must hold finite numbers", found=f"{name} = {value}")
        if not -1e-9 <= self.cumulative_weight <= 1 + 1e-6:
            raise PlanError("cumulative weight out of range", found=str(self.cumulative_weight), expected="0 … 1")
        for name in ("jaw_x_mm", "jaw_y_mm"):
            jaw = getattr(self, name)
            if jaw is not None and not jaw[0] <= jaw[1]:
                raise PlanError("jaws overlap", found=f"{name} = {jaw}", expected="negative side <= positive side")
        if self.leaves_mm is not None:
            leaves = np.array(self.leaves_mm, dtype=np.float64)
            if leaves.ndim != 2 or leaves.shape[0] != 2:
                raise PlanError("leaf positions must be two finite banks", found=f"array {leaves.shape}")
            if not np.all(np.isfinite(leaves)):
                bank, pair = np.argwhere(~np.isfinite(leaves))[0]
                raise PlanError(
                    "leaf positions must be two finite banks",
                    found=f"bank {bank + 1}, pair {pair + 1}: {leaves[bank, pair]}",
                )
            if np.any(leaves[0] > leaves[1] + 0.05):
                worst = int(np.argmax(leaves[0] - leaves[1]))
                raise PlanError(
                    "leaves of a pair overlap",
                    found=f"pair {worst + 1}: {leaves[0, worst]:.2f} > {leaves[1, worst]:.2f} mm",
                )
            leaves.setflags(write=False)
            object.__setattr__(self, "leaves_mm", leaves)


@dataclass(frozen=True, eq=False)
class Beam:
    """One treatment beam. All metersets and doses are per fraction.

    Parameters
    ----------
    number : int
        Beam Number, unique in the plan.
    name : str
        Beam Name (or its number as text).
    mu : float
        Beam Meterset in MU.
    control_points : tuple of ControlPoint
        At least two, weights ascending from 0 to 1.
    nominal_energy_mv : float
        Nominal Beam Energy.
    machine_name : str
        Treatment Machine Name.
    mlc : MultileafCollimator or None
        None if the plan has only jaws.
    sad_mm : float
        Source-Axis Distance.
    beam_dose_gy : float or None
        Beam Dose, per fraction, at ``beam_dose_point_lps``.
    beam_dose_point_lps : tuple of float or None
        Beam Dose Specification Point.
    radiation_type : str
        ``"PHOTON"``, ``"ELECTRON"``, ``"PROTON"``, ….
    fluence_mode : str
        ``"STANDARD"`` or ``"NON_STANDARD"`` with its id, e.g. ``"FFF"``.
    unsupported : tuple of str
        Devices in the file that the dose engines cannot model (``"wedge"``, ``"block"``, …); refused there, by name.
    """

    number: int
    name: str
    mu: float
    control_points: tuple[ControlPoint, ...]
    nominal_energy_mv: float = 6.0
    machine_name: str = ""
    mlc: MultileafCollimator | None = None
    sad_mm: float = 1000.0
    beam_dose_gy: float | None = None
    beam_dose_point_lps: tuple[float, float, float] | None = None
    radiation_type: str = "PHOTON"
    fluence_mode: str = "STANDARD"
    unsupported: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not np.isfinite(self.mu) or self.mu < 0:
            raise PlanError(
                "meterset must not be negative or infinite", found=f"{self.mu} MU", where=f"beam {self.name}"
            )
        if not (np.isfinite(self.nominal_energy_mv) and np.isfinite(self.sad_mm) and self.sad_mm > 0):
            raise PlanError(
                "energy and source-axis distance must be finite, the distance positive",
                found=f"{self.nominal_energy_mv} MV, {self.sad_mm} mm",
                where=f"beam {self.name}",
            )
        if len(self.control_points) < 2:
            raise PlanError(
                "a beam needs two control points",
                found=str(len(self.control_points)),
                where=f"beam {self.name}",
            )
        weights = [cp.cumulative_weight for cp in self.control_points]
        if any(b < a - 1e-9 for a, b in pairwise(weights)) or abs(weights[0]) > 1e-9:
            raise PlanError(
                "cumulative meterset weights must ascend from 0",
                found=str(weights[:5]),
                where=f"beam {self.name}",
            )
        pairs = {None if cp.leaves_mm is None else cp.leaves_mm.shape[1] for cp in self.control_points} - {None}
        if pairs and (self.mlc is None or pairs != {self.mlc.pairs}):
            raise PlanError(
                "leaf positions do not fit the collimator",
                found=f"{sorted(p for p in pairs if p)} pairs",
                expected="leaf boundaries" if self.mlc is None else f"{self.mlc.pairs} pairs",
                where=f"beam {self.name}",
            )
        object.__setattr__(self, "control_points", tuple(self.control_points))

    @property
    def isocentre_lps(self) -> tuple[float, float, float]:
        """Isocentre of the first control point."""
        return self.control_points[0].isocentre_lps

    @property
    def is_arc(self) -> bool:
        """Whether the gantry moves while the beam is on."""
        return len({round(cp.gantry_deg, 3) for cp in self.control_points}) > 1


@dataclass(frozen=True, eq=False)
class Plan:
    """An external photon plan with one fraction group.

    Parameters
    ----------
    beams : tuple of Beam
        Treatment beams (set-up beams are left out).
    label : str
        RT Plan Label.
    fractions_planned : int
        Number of Fractions Planned.
    prescription_gy : tuple of (str, float)
        Course dose in Gy by target structure name (``""`` where the file names none); empty if not stated.
    sop_instance_uid, frame_of_reference_uid, structure_set_uid : str
        Own UID, planning-CT frame, and the referenced RTSTRUCT.
    approval_status : str
        ``"APPROVED"``, ``"UNAPPROVED"`` or ``"REJECTED"``.
    intent : str
        Plan Intent; ours is always ``"RESEARCH"``.
    patient_position : str or None
        From Patient Setup; None where absent.
    predecessor_uid : str
        Plan that this one was adapted from; empty if none.
    description : str
        RT Plan Description.
    """

    beams: tuple[Beam, ...]
    label: str = "igrt"
    fractions_planned: int = 1
    prescription_gy: tuple[tuple[str, float], ...] = ()
    sop_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    structure_set_uid: str = ""
    approval_status: str = "UNAPPROVED"
    intent: str = "RESEARCH"
    patient_position: str | None = None
    predecessor_uid: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not self.beams:
            raise PlanError("a plan needs a treatment beam", where=f"plan {self.label}")
        if self.fractions_planned < 1:
            raise PlanError("a plan needs at least one fraction", found=str(self.fractions_planned))
        numbers = [b.number for b in self.beams]
        if len(set(numbers)) != len(numbers):
            raise PlanError("beam numbers must be unique", found=str(numbers), where=f"plan {self.label}")
        object.__setattr__(self, "beams", tuple(self.beams))

    @property
    def total_mu(self) -> float:
        """Sum of the beams' metersets, per fraction."""
        return sum(b.mu for b in self.beams)

    @property
    def isocentre_lps(self) -> tuple[float, float, float]:
        """The one isocentre that all beams share.

        Raises
        ------
        PlanError
            If beams or control points have different isocentres.
        """
        points = {tuple(round(v, 2) for v in cp.isocentre_lps) for b in self.beams for cp in b.control_points}
        if len(points) > 1:
            raise PlanError("the plan has several isocentres", found=str(sorted(points)), expected="one")
        return self.beams[0].isocentre_lps
