"""A treatment machine: beam model, collimator, limits, table, imagers, density curves and couch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from imrt_core.patient import MachineError, MultileafCollimator, Scanner

from .beam_model import BeamModel
from .clearance import Clearance
from .couch import Couch
from .density import DensityCurve
from .leaves import LeafModel

#: How the machine isocentre is found in an image: at the image frame's origin, or not at all without being told.
ISOCENTRE_RULES = ("origin", "unknown")
ROTATIONS = ("pitch", "roll", "yaw")


@dataclass(frozen=True)
class DeliveryLimits:
    """What the machine can deliver. Positions and speeds on the isocentre plane.

    Parameters
    ----------
    leaf_speed_mm_per_s : float
        Fastest leaf.
    leaf_span_mm : float
        Largest distance between the leaves of one bank.
    leaf_range_mm : tuple of float
        Positions that a leaf tip can take.
    leaf_gap_mm : float
        Smallest gap between the leaves of a pair that move or deliver; closed pairs rest at this gap.
    interdigitation : bool
        Whether a leaf may pass its neighbour's opposite.
    jaw_x_mm, jaw_y_mm : tuple of float
        Range of the jaws.
    dose_rate_mu_per_min : float
        Highest.
    minimum_segment_mu, minimum_beam_mu, maximum_beam_mu : float
        Of a step-and-shoot segment, and of a beam.
    gantry_speed_deg_per_s : float
        Fastest gantry.
    """

    leaf_speed_mm_per_s: float = 25.0
    leaf_span_mm: float = 150.0
    leaf_range_mm: tuple[float, float] = (-200.0, 200.0)
    leaf_gap_mm: float = 0.5
    interdigitation: bool = True
    jaw_x_mm: tuple[float, float] = (-200.0, 200.0)
    jaw_y_mm: tuple[float, float] = (-200.0, 200.0)
    dose_rate_mu_per_min: float = 600.0
    minimum_segment_mu: float = 2.0
    minimum_beam_mu: float = 5.0
    maximum_beam_mu: float = 2000.0
    gantry_speed_deg_per_s: float = 6.0

    def __post_init__(self) -> None:
        positive = (
            self.leaf_speed_mm_per_s,
            self.leaf_span_mm,
            self.dose_rate_mu_per_min,
            self.maximum_beam_mu,
            self.gantry_speed_deg_per_s,
        )
        if not all(np.isfinite(v) and v > 0 for v in positive):
            raise MachineError("speeds, span, dose rate and MU limits must be positive", found=str(positive))
        if min(self.leaf_gap_mm, self.minimum_segment_mu, self.minimum_beam_mu) < 0:
            raise MachineError("leaf gap and minimum MU must not be negative")
        for low, high in (self.leaf_range_mm, self.jaw_x_mm, self.jaw_y_mm):
            if not low < high:
                raise MachineError("a range must ascend", found=f"({low}, {high})")


@dataclass(frozen=True)
class Table:
    """What the treatment table can do; field names as in ``registration.couch.TableLimits``.

    Parameters
    ----------
    translation_step_mm, rotation_step_deg : float
        Smallest steps of the drives.
    rotations : tuple of str
        Which of pitch, roll and yaw it can make.
    limit_mm : tuple of float
        Largest vertical, longitudinal and lateral shift.
    limit_deg : tuple of float
        Largest pitch, roll and yaw.
    """

    translation_step_mm: float = 1.0
    rotation_step_deg: float = 0.1
    rotations: tuple[str, ...] = ()
    limit_mm: tuple[float, float, float] = (50.0, 50.0, 50.0)
    limit_deg: tuple[float, float, float] = (3.0, 3.0, 3.0)

    def __post_init__(self) -> None:
        numbers = (self.translation_step_mm, self.rotation_step_deg, *self.limit_mm, *self.limit_deg)
        if not all(np.isfinite(n) and n > 0 for n in numbers):
            raise MachineError("steps and limits of the table must be positive", found=str(numbers))
        if set(self.rotations) - set(ROTATIONS):
            raise MachineError("unknown rotation of the table", found=str(self.rotations), expected=str(ROTATIONS))


@dataclass(frozen=True)
class Machine:
    """A treatment machine, valid once built.

    Parameters
    ----------
    name, version : str
        Of the machine file.
    model : BeamModel
        Its photon beam.
    mlc : MultileafCollimator
        Leaf boundaries and travel.
    limits : DeliveryLimits
        Leaf, jaw, MU and dose-rate limits.
    table : Table
        Steps, rotations, limits.
    imagers : dict of str to str
        Where the machine isocentre lies in images of each imager: ``"origin"`` or ``"unknown"``.
    density_curves : tuple of DensityCurve
        By scanner and imager.
    description : str
        For people.
    couch : Couch or None
        Treatment couch under the patient; None where the file declares none.
    leaves : LeafModel or None
        Leaf ends, sides and transmission; None leaves sharp leaves with the beam model's transmission.
    clearance : Clearance or None
        Gantry angles that are free by table angle; None allows coplanar beams only.
    """

    name: str
    version: str
    model: BeamModel
    mlc: MultileafCollimator
    limits: DeliveryLimits
    table: Table
    density_curves: tuple[DensityCurve, ...]
    imagers: dict[str, str] = field(default_factory=dict)
    description: str = ""
    couch: Couch | None = None
    leaves: LeafModel | None = None
    clearance: Clearance | None = None

    def __post_init__(self) -> None:
        for imager, rule in self.imagers.items():
            if rule not in ISOCENTRE_RULES:
                raise MachineError(
                    "unknown rule for the machine isocentre", found=rule, expected=str(ISOCENTRE_RULES), where=imager
                )
        if not self.density_curves:
            raise MachineError("a machine needs a density curve", where=self.name)

    @property
    def leaf_model(self) -> LeafModel:
        """The stated leaf model, or sharp leaves with the beam model's transmission."""
        return self.leaves or LeafModel(self.model.mlc_transmission, source="beam model")

    def machine_isocentre_lps(self, imager: str) -> tuple[float, float, float] | None:
        """Return the machine isocentre in images of an imager, or None where only the user can know.

        Raises
        ------
        MachineError
            If the machine file does not name the imager.
        """
        if imager not in self.imagers:
            raise MachineError(
                "the machine file does not know this imager",
                found=imager,
                expected=", ".join(sorted(self.imagers)),
                where=f"machine {self.name}",
            )
        return (0.0, 0.0, 0.0) if self.imagers[imager] == "origin" else None

    def density_curve(self, scanner: Scanner | None = None, *, imager: str = "ct") -> DensityCurve:
        """Return the curve that names the scanner most exactly.

        Parameters
        ----------
        scanner : Scanner or None
            As in the image's header; None takes the imager's curve that names no scanner.
        imager : str
            ``"ct"`` or ``"cbct"``: a CBCT series also has modality CT, so the caller must say.

        Raises
        ------
        MachineError
            If no curve fits, or two fit equally well.
        """
        device = scanner or Scanner()
        ranked = [(curve.specificity(device, imager), curve) for curve in self.density_curves]
        best = max(score for score, _ in ranked)
        fitting = [curve for score, curve in ranked if score == best]
        if best < 0 or len(fitting) > 1:
            raise MachineError(
                "no density curve fits the scanner" if best < 0 else "several density curves fit the scanner equally",
                found=f"imager {imager}, {device}",
                expected=", ".join(f"{c.name} ({c.imager})" for c in self.density_curves),
                where=f"machine {self.name}",
                code="no-density",
            )
        return fitting[0]
