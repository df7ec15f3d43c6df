"""Radiographs: where the source and every pixel stand, and how points of the patient project onto them.

Two frames, both in mm with their origin at the machine isocentre:

* *fixed*: IEC 61217 (:mod:`imrt_core.geometry.iec61217`);
* the *frame of the day*: the patient's own axes (LPS) as he lies on the table while the image is taken, carried along
  by the table: ``day = fixed_from_lps(position, table_deg)ᵀ · fixed``. Turning the table about the isocentre turns
  this frame with the patient on it, so the table's own axes are always the same ones in it (those of the patient
  position at table 0), and images taken at different table angles share it.

The image receptor follows DICOM PS3.3 C.8.8.2 [1]_: its origin lies at X-Ray Image Receptor Translation in the gantry
system, it is turned by X-Ray Image Receptor Angle, counter-clockwise as seen from the source (C.8.8.14.3), and a
normal image is seen from the source: rows run along receptor +x, columns along −y (C.8.8.2.7).

References
----------
.. [1] DICOM PS3.3, RT Image Module (C.8.8.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import GeometryError, PatientIdentity

from .iec61217 import fixed_from_gantry, fixed_from_lps, gantry_from_bld

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

#: Direction vectors may deviate this far from orthonormal.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ProjectionView:
    """Source and image plane of one radiograph.

    Parameters
    ----------
    source_mm : tuple of float
        Focal spot, fixed frame.
    origin_mm : tuple of float
        Centre of pixel ``[0, 0]``, fixed frame.
    row_direction : tuple of float
        Unit vector along a row (the way the column number grows), fixed frame.
    column_direction : tuple of float
        Unit vector along a column (the way the row number grows), fixed frame.
    spacing_mm : tuple of float
        Distance between adjacent rows, and between adjacent columns, at the image plane.
    shape : tuple of int
        (rows, columns).
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``: how the patient lies while the image is taken.
    table_deg : float
        IEC patient support angle while the image is taken.
    gantry_deg : float
        IEC angle of *this source's* arm. A kV source on an arm at a right angle to the treatment head has its own.
    sad_mm, sid_mm : float
        Distance from the source to the isocentre, and to the image plane along the beam axis.

    Raises
    ------
    GeometryError
        If a number is not finite or not positive where it must be, the directions are not orthonormal, the source
        lies in the image plane, or the patient position is unknown.
    """

    source_mm: Vector
    origin_mm: Vector
    row_direction: Vector
    column_direction: Vector
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    patient_position: str
    table_deg: float = 0.0
    gantry_deg: float = 0.0
    sad_mm: float = 1000.0
    sid_mm: float = 1500.0

    def __post_init__(self) -> None:
        for name in ("source_mm", "origin_mm", "row_direction", "column_direction"):
            vector = tuple(float(v) for v in getattr(self, name))
            if len(vector) != 3 or not np.all(np.isfinite(vector)):
                raise GeometryError(f"{name} of a radiograph must be three finite numbers", found=str(vector))
            object.__setattr__(self, name, vector)
        axes = np.array([self.row_direction, self.column_direction])
        if not np.allclose(axes @ axes.T, np.eye(2), atol=_TOLERANCE):
            raise GeometryError(
                "rows and columns of a radiograph must be orthonormal", found=str(np.round(axes, 6).tolist())
            )
        sizes = (*self.spacing_mm, self.sad_mm, self.sid_mm)
        if len(self.spacing_mm) != 2 or not all(np.isfinite(s) and s > 0 for s in sizes):
            raise GeometryError("spacing, SAD and SID of a radiograph must be positive", found=str(sizes))
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise GeometryError("a radiograph needs rows and columns", found=str(self.shape))
        if not np.isfinite(self.gantry_deg):
            raise GeometryError("an angle must be finite", found=str(self.gantry_deg), expected="degrees")
        if self._distance_mm(self.source_mm) <= 0:
            raise GeometryError(
                "the source must stand in front of the image plane",
                found=f"{self._distance_mm(self.source_mm):.1f} mm in front of it",
                expected="> 0 mm: rows × columns points away from the source",
            )
        _ = self.lps_from_fixed  # refuses unknown positions and angles that are not finite

    @classmethod
    def from_iec(
        cls,
        *,
        gantry_deg: float,
        patient_position: str,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        sad_mm: float = 1000.0,
        sid_mm: float = 1500.0,
        table_deg: float = 0.0,
        receptor_mm: tuple[float, float] = (0.0, 0.0),
        receptor_deg: float = 0.0,
        first_pixel_mm: tuple[float, float] | None = None,
    ) -> ProjectionView:
        """Build from the numbers of an RT Image.

        Parameters
        ----------
        gantry_deg, patient_position, shape, spacing_mm, sad_mm, sid_mm, table_deg
            As in the class.
        receptor_mm : tuple of float
            x and y of the receptor's origin in the gantry system; its z is SAD − SID.
        receptor_deg : float
            X-Ray Image Receptor Angle.
        first_pixel_mm : tuple of float, optional
            Centre of pixel ``[0, 0]`` in receptor x and y; by default the image is centred on the receptor's origin.
        """
        rows, columns = shape
        down, across = spacing_mm
        x, y = first_pixel_mm or (-(columns - 1) / 2 * across, (rows - 1) / 2 * down)
        fixed = fixed_from_gantry(gantry_deg)
        # The receptor turns about the gantry's z axis as a collimator does.
        receptor = gantry_from_bld(receptor_deg)
        first = np.array([*receptor_mm, sad_mm - sid_mm]) + receptor @ [x, y, 0.0]
        return cls(
            source_mm=_vector(fixed @ [0.0, 0.0, sad_mm]),
            origin_mm=_vector(fixed @ first),
            row_direction=_vector(fixed @ receptor @ [1.0, 0.0, 0.0]),
            column_direction=_vector(fixed @ receptor @ [0.0, -1.0, 0.0]),
            spacing_mm=spacing_mm,
            shape=shape,
            patient_position=patient_position,
            table_deg=table_deg,
            gantry_deg=gantry_deg,
            sad_mm=sad_mm,
            sid_mm=sid_mm,
        )

    @cached_property
    def lps_from_fixed(self) -> Array:
        """3×3 rotation from the fixed frame to the frame of the day."""
        return fixed_from_lps(self.patient_position, table_deg=self.table_deg).T

    @cached_property
    def source_lps(self) -> Array:
        """Focal spot, frame of the day, mm."""
        return np.asarray(self.lps_from_fixed @ self.source_mm)

    @cached_property
    def origin_lps(self) -> Array:
        """Centre of pixel ``[0, 0]``, frame of the day, mm."""
        return np.asarray(self.lps_from_fixed @ self.origin_mm)

    @cached_property
    def axes_lps(self) -> Array:
        """3×3: along a row, along a column, and from the source to the plane; frame of the day."""
        along_row = self.lps_from_fixed @ self.row_direction
        along_column = self.lps_from_fixed @ self.column_direction
        return np.stack([along_row, along_column, np.cross(along_row, along_column)])

    @property
    def scale(self) -> float:
        """Magnification from the isocentre to the image plane."""
        return self.sid_mm / self.sad_mm

    def _distance_mm(self, point_mm: Vector) -> float:
        """Return how far a point of the fixed frame lies in front of the image plane."""
        normal = np.cross(self.row_direction, self.column_direction)
        return float(normal @ (np.asarray(self.origin_mm) - point_mm))

    def project(self, points_lps: ArrayLike) -> Array:
        """Project (…, 3) points of the frame of the day from the source.

        Returns
        -------
        ndarray, shape (…, 2)
            Fractional (row, column).

        Raises
        ------
        GeometryError
            If a point does not lie in front of the source.
        """
        across, down, normal = self.axes_lps
        rays = np.asarray(points_lps, dtype=float) - self.source_lps
        depth = rays @ normal
        if np.any(depth <= 0):
            raise GeometryError("a point lies behind the source", found=f"{float(np.min(depth)):.1f} mm")
        to_plane = self.origin_lps - self.source_lps
        at = rays * (normal @ to_plane / depth)[..., None] - to_plane
        return np.stack([at @ down / self.spacing_mm[0], at @ across / self.spacing_mm[1]], axis=-1)

    def pixel_centres_lps(self) -> Array:
        """Centres of all pixels, (rows, columns, 3), frame of the day, mm."""
        rows, columns = (np.arange(n) * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        across, down, _ = self.axes_lps
        return np.asarray(self.origin_lps + rows[:, None, None] * down + columns[None, :, None] * across)

    def binned(self, factor: int) -> ProjectionView:
        """Return the view of blocks of ``factor`` × ``factor`` pixels; what does not fill a block is left out.

        Raises
        ------
        GeometryError
            If no block is left.
        """
        if not 1 <= factor <= min(self.shape):
            raise GeometryError("no such block of pixels", found=str(factor), expected=f"1 to {min(self.shape)}")
        move = (factor - 1) / 2 * np.asarray(self.spacing_mm)
        origin = np.asarray(self.origin_mm) + move[0] * np.asarray(self.column_direction)
        return replace(
            self,
            origin_mm=_vector(origin + move[1] * np.asarray(self.row_direction)),
            spacing_mm=(self.spacing_mm[0] * factor, self.spacing_mm[1] * factor),
            shape=(self.shape[0] // factor, self.shape[1] // factor),
        )

    def side_letters(self) -> tuple[str, str, str, str]:
        """Return the patient's sides at the left, right, top and bottom edge of the image, as ``"L"`` or ``"RA"``."""
        across, down, _ = self.axes_lps
        return _letters(-across), _letters(across), _letters(-down), _letters(down)


def _vector(values: ArrayLike) -> Vector:
    x, y, z = np.asarray(values, dtype=float)
    return float(x), float(y), float(z)


def _letters(direction: Array) -> str:
    """Name a direction by the patient's sides within 70° of it, the nearest first."""
    names = (("L", "R"), ("P", "A"), ("S", "I"))
    found = [(abs(c), pair[0] if c > 0 else pair[1]) for c, pair in zip(direction, names, strict=True)]
    return "".join(letter for size, letter in sorted(found, reverse=True) if size > np.cos(np.deg2rad(70.0)))


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A kV image with its geometry and identity.

    Parameters
    ----------
    view : ProjectionView
        Where it was taken from.
    attenuation : ndarray, shape (rows, columns)
        The line integral of attenuation, or something that grows with it, up to an offset and a scale; made
        read-only. NaN where the receptor saw nothing.
    patient : PatientIdentity
        Whose it is.
    label : str
        For people.
    acquired : str
        ISO 8601, empty if unknown.
    frame_of_reference_uid, sop_instance_uid : str
        DICOM UIDs; empty for images that are not DICOM.
    isocentre_lps : tuple of float or None
        Isocenter Position that the file states, in its own frame of reference.

    Raises
    ------
    GeometryError
        If the pixels do not fit the view, or none is finite.
    """

    view: ProjectionView
    attenuation: NDArray[np.float32]
    patient: PatientIdentity = field(default_factory=lambda: PatientIdentity(""))
    label: str = ""
    acquired: str = ""
    frame_of_reference_uid: str = ""
    sop_instance_uid: str = ""
    isocentre_lps: Vector | None = None

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.attenuation, dtype=np.float32)
        if array.shape != self.view.shape:
            raise GeometryError("pixels must fit their view", found=str(array.shape), expected=str(self.view.shape))
        if not np.isfinite(array).any():
            raise GeometryError("a radiograph must show something", found="no finite pixel")
        if array.flags.writeable:
            array = array.view()
            array.setflags(write=False)
        object.__setattr__(self, "attenuation", array)
