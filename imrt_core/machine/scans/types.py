"""What a folder of measured beam data holds, whatever format it was written in.

Frames: profiles lie in the plane of the detector, perpendicular to the beam axis, in the IEC 61217 beam-limiting
device frame at collimator 0 (crossline along X, inline along Y, + towards the gantry). Depths are in water along the
axis, from the surface. Field sizes are those at the isocentre plane.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

from .checks import ascending, optional, same_length, set_array, within

Array = NDArray[np.float64]
Kind = Literal["pdd", "tpr", "crossline", "inline", "diagonal"]
DetectorShape = Literal["", "cylindrical chamber", "plane-parallel chamber", "diode", "diamond"]

#: Longer than any water phantom or field; a larger length is a wrong unit or a broken file.
_MAX_POSITION_MM = 1000.0
_MAX_FIELD_MM = 600.0
MAX_DISTANCE_MM = 10000.0
#: Scans start a few millimetres above the water, never further.
_MAX_ABOVE_SURFACE_MM = 50.0
#: Readings come in any unit (A, C, counts, %), but a larger number is no reading.
_MAX_VALUE = 1e12


@dataclass(frozen=True)
class Detector:
    """A detector, as far as the file states it.

    Parameters
    ----------
    name : str
        Manufacturer and type, empty where not stated.
    shape : str
        Kind of detector, empty where not stated. Only ``"cylindrical chamber"`` has a shifted point of measurement.
    diameter_mm : float or None
        Outer diameter of the sensitive volume across the axis of the detector; None where not stated.
    """

    name: str = ""
    shape: DetectorShape = ""
    diameter_mm: float | None = None

    def __post_init__(self) -> None:
        if self.shape not in get_args(DetectorShape):
            raise MachineError(
                "a detector has an unknown shape",
                found=self.shape,
                expected=", ".join(repr(shape) for shape in get_args(DetectorShape)),
                where=self.name,
            )
        if self.diameter_mm is not None:
            within(self.diameter_mm, 0.0, 50.0, "detector diameter in mm", self.name)


@dataclass(frozen=True, eq=False)
class Scan:
    """One measured curve in water.

    Parameters
    ----------
    kind : {"pdd", "tpr", "crossline", "inline", "diagonal"}
        Along the axis at fixed SSD, along the axis at a fixed detector, or across the axis.
    field_x_mm, field_y_mm : float
        Field size at the isocentre plane, IEC X (crossline) and Y (inline).
    ssd_mm : float
        Source-surface distance; for ``"tpr"`` the source-detector distance.
    depth_mm : float or None
        Of a profile; None for PDD and TPR.
    position_mm : ndarray, shape (n,)
        Ascending, no two alike: depth, or signed distance from the axis in the plane of the detector.
    value : ndarray, shape (n,)
        Relative dose in the scale `relative_to` says.
    relative_to : str
        What the values are relative to, for example ``"1 at 100 mm depth"``, or that this is not known. Two scans are
        compared only after :func:`~imrt_core.machine.scans.normalised`: detectors differ, also where the unit is one.
    energy_mv : float or None
        Nominal energy; None where the file does not state it. Every scan of a :class:`Measurements` has one.
    flattened : bool or None
        False for a flattening-filter-free beam, None where not stated.
    detector : Detector
        With which the curve was measured.
    machine, comment : str
        Name of the treatment machine; processing the file states. No free text of the file, which may name people.
    source_file : str
        Name of the file.

    Raises
    ------
    MachineError
        If a number is missing, not finite or out of any plausible range, or the positions do not ascend.
    """

    kind: Kind
    field_x_mm: float
    field_y_mm: float
    ssd_mm: float
    depth_mm: float | None
    position_mm: Array
    value: Array
    relative_to: str
    energy_mv: float | None = None
    flattened: bool | None = None
    detector: Detector = field(default_factory=Detector)
    machine: str = ""
    comment: str = ""
    source_file: str = ""

    def __post_init__(self) -> None:
        where = self.label
        if self.kind not in get_args(Kind):
            raise MachineError(
                "a scan is of an unknown kind", found=str(self.kind), expected=", ".join(get_args(Kind)), where=where
            )
        within(self.field_x_mm, 0.0, _MAX_FIELD_MM, "field size X in mm", where)
        within(self.field_y_mm, 0.0, _MAX_FIELD_MM, "field size Y in mm", where)
        within(self.ssd_mm, 0.0, MAX_DISTANCE_MM, "distance from the source in mm", where)
        if self.is_profile:
            if self.depth_mm is None:
                raise MachineError("a profile has no depth", expected="its depth in water in mm", where=where)
            within(self.depth_mm, 0.0, _MAX_POSITION_MM, "depth in mm", where)
        elif self.depth_mm is not None:
            raise MachineError("a scan along the axis has one depth", found=f"{self.depth_mm} mm", where=where)
        if self.energy_mv is not None:
            within(self.energy_mv, 0.0, 50.0, "nominal energy in MV", where)
        set_array(self, "position_mm", where, least=3)
        set_array(self, "value", where, least=3)
        same_length(self.position_mm, self.value, where)
        ascending(self.position_mm, "the positions of a scan", where)
        lowest = -_MAX_POSITION_MM if self.is_profile else -_MAX_ABOVE_SURFACE_MM
        if self.position_mm[0] < lowest or self.position_mm[-1] > _MAX_POSITION_MM:
            raise MachineError(
                "a scan is longer than any water phantom",
                found=f"{self.position_mm[0]:g} to {self.position_mm[-1]:g} mm",
                expected=f"{lowest:g} to {_MAX_POSITION_MM:g} mm",
                where=where,
            )
        if np.abs(self.value).max() > _MAX_VALUE or self.value.max() <= 0:
            raise MachineError(
                "the values of a scan are no doses",
                found=f"{self.value.min():g} to {self.value.max():g}",
                expected=f"a largest value above 0, none beyond {_MAX_VALUE:g}",
                where=where,
            )

    @property
    def is_profile(self) -> bool:
        """Whether the curve runs across the axis."""
        return self.kind in ("crossline", "inline", "diagonal")

    @property
    def quantity(self) -> str:
        """What the values are: ``"relative dose"`` or ``"tissue-phantom ratio"``."""
        return "tissue-phantom ratio" if self.kind == "tpr" else "relative dose"

    @property
    def label(self) -> str:
        """File, kind, field, distance and depth, to name the scan in errors and plots."""
        depth = "" if self.depth_mm is None else f", depth {self.depth_mm:g} mm"
        text = f"{self.kind} {self.field_x_mm:g} x {self.field_y_mm:g} mm, SSD {self.ssd_mm:g} mm{depth}"
        return f"{self.source_file}: {text}" if self.source_file else text


@dataclass(frozen=True, eq=False)
class OutputFactors:
    """Total output factors in water.

    Parameters
    ----------
    field_x_mm, field_y_mm, factor : ndarray, shape (n,)
        Field sizes at the isocentre plane and dose per MU relative to the normalisation field.
    depth_mm, ssd_mm : float or None
        Where they were measured; None where the file does not state it.
    normalised_x_mm, normalised_y_mm : float
        The field with factor 1.
    energy_mv : float or None
        None where not stated.
    source_file : str
        Name of the file.
    """

    field_x_mm: Array
    field_y_mm: Array
    factor: Array
    depth_mm: float | None
    ssd_mm: float | None
    normalised_x_mm: float
    normalised_y_mm: float
    energy_mv: float | None = None
    source_file: str = ""

    def __post_init__(self) -> None:
        where = self.source_file or "output factors"
        for name in ("field_x_mm", "field_y_mm", "factor"):
            set_array(self, name, where, least=1)
            same_length(self.field_x_mm, getattr(self, name), where)
        for side in (*self.field_x_mm, *self.field_y_mm, self.normalised_x_mm, self.normalised_y_mm):
            within(side, 0.0, _MAX_FIELD_MM, "field size in mm", where)
        for factor in self.factor:
            within(factor, 0.0, 10.0, "output factor", where)
        optional(self.depth_mm, _MAX_POSITION_MM, "depth in mm", where)
        optional(self.ssd_mm, MAX_DISTANCE_MM, "SSD in mm", where)
        optional(self.energy_mv, 50.0, "nominal energy in MV", where)
        fields = list(zip(self.field_x_mm, self.field_y_mm, strict=True))
        if len(set(fields)) < len(fields):
            raise MachineError("output factors name a field twice", found=str(fields), where=where)


@dataclass(frozen=True)
class AbsoluteDose:
    """Dose per monitor unit at one point on the axis in water.

    Parameters
    ----------
    gy_per_mu : float
        Dose to water.
    field_x_mm, field_y_mm : float
        At the isocentre plane.
    depth_mm : float or None
        None: at the depth of the dose maximum.
    ssd_mm : float
        Source-surface distance.
    energy_mv : float or None
        None where not stated.
    source_file : str
        Name of the file.
    """

    gy_per_mu: float
    field_x_mm: float
    field_y_mm: float
    depth_mm: float | None
    ssd_mm: float
    energy_mv: float | None = None
    source_file: str = ""

    def __post_init__(self) -> None:
        where = self.source_file or "absolute dose"
        # About 0.01 Gy/MU by convention; ten times that is a wrong unit.
        within(self.gy_per_mu, 0.0, 0.1, "Gy per MU", where)
        within(self.field_x_mm, 0.0, _MAX_FIELD_MM, "field size X in mm", where)
        within(self.field_y_mm, 0.0, _MAX_FIELD_MM, "field size Y in mm", where)
        optional(self.depth_mm, _MAX_POSITION_MM, "depth in mm", where)
        within(self.ssd_mm, 0.0, MAX_DISTANCE_MM, "SSD in mm", where)
        optional(self.energy_mv, 50.0, "nominal energy in MV", where)


@dataclass(frozen=True, eq=False)
class PrimaryFluence:
    """Primary energy fluence against distance from the axis on the isocentre plane, 1 on the axis.

    Parameters
    ----------
    radius_mm, fluence : ndarray, shape (n,)
        Ascending radii from 0; fluence as the file has it.
    source_file : str
        Name of the file.
    """

    radius_mm: Array
    fluence: Array
    source_file: str = ""

    def __post_init__(self) -> None:
        where = self.source_file or "primary fluence"
        set_array(self, "radius_mm", where, least=2)
        set_array(self, "fluence", where, least=2)
        same_length(self.radius_mm, self.fluence, where)
        ascending(self.radius_mm, "the radii of the primary fluence", where)
        if self.radius_mm[0] < 0 or self.fluence.min() < 0 or self.fluence.max() > 100:
            raise MachineError(
                "the primary fluence is out of range",
                found=f"radius from {self.radius_mm[0]:g} mm, {self.fluence.min():g} to {self.fluence.max():g}",
                expected="radius from 0, fluence from 0 to 100",
                where=where,
            )
