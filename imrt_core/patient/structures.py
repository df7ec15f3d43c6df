"""Structures: named closed planar contours in the patient frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import StructureError

#: RT ROI Interpreted Types (DICOM PS3.3 C.8.8.8.1) that this project writes; others are read as they are.
TARGET_TYPES = ("GTV", "CTV", "PTV")


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed planar polygon; the last point joins the first.

    Parameters
    ----------
    points_lps : ndarray, shape (n, 3)
        Vertices in LPS mm, n ≥ 3, made read-only.
    """

    points_lps: NDArray[np.float64]

    def __post_init__(self) -> None:
        points = np.array(self.points_lps, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 3 or not np.all(np.isfinite(points)):
            raise StructureError(
                "a contour needs at least three finite points",
                found=f"array {points.shape}",
                expected="(n >= 3, 3)",
            )
        points.setflags(write=False)
        object.__setattr__(self, "points_lps", points)


@dataclass(frozen=True, eq=False)
class Structure:
    """A region of interest.

    Parameters
    ----------
    name : str
        As in the RTSTRUCT, preferably a TG-263 name.
    contours : tuple of Contour
        May be empty in a file that was read; whoever needs a volume refuses it then.
    number : int
        ROI number.
    interpreted_type : str
        RT ROI Interpreted Type: ``"PTV"``, ``"CTV"``, ``"GTV"``, ``"ORGAN"``, ``"EXTERNAL"``, ``"SUPPORT"``, …
    color_rgb : tuple of int
        Display colour.
    description : str
        ROI Description; says so where a contour was made here.
    relative_electron_density, relative_mass_density : float or None
        Relative to water, where the planner overrode the image (ROI Physical Properties).

    Raises
    ------
    StructureError
        If the name is blank, or a density is negative or not finite.
    """

    name: str
    contours: tuple[Contour, ...]
    number: int = 0
    interpreted_type: str = "ORGAN"
    color_rgb: tuple[int, int, int] = (255, 255, 0)
    description: str = ""
    relative_electron_density: float | None = None
    relative_mass_density: float | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise StructureError("a structure needs a name", found=repr(self.name))
        for density in (self.relative_electron_density, self.relative_mass_density):
            if density is not None and not (np.isfinite(density) and density >= 0):
                raise StructureError(
                    "a density must be finite and not negative", found=str(density), where=f"structure {self.name}"
                )
        object.__setattr__(self, "contours", tuple(self.contours))

    @property
    def is_empty(self) -> bool:
        """Whether the structure has no contour at all."""
        return not self.contours

    @property
    def is_target(self) -> bool:
        """Whether the interpreted type is GTV, CTV or PTV."""
        return self.interpreted_type.upper() in TARGET_TYPES


@dataclass(frozen=True, eq=False)
class StructureSet:
    """All structures drawn on one image, with unique names.

    Parameters
    ----------
    structures : tuple of Structure
        The regions.
    frame_of_reference_uid : str
        Frame that the contours live in.
    sop_instance_uid : str
        Of the RTSTRUCT that they came from; empty if not from a file.
    referenced_series_uid : str
        Series Instance UID of the image they were drawn on; empty if unknown.
    label : str
        Structure Set Label.
    approval_status : str
        ``"APPROVED"``, ``"UNAPPROVED"`` or ``"REJECTED"``.
    """

    structures: tuple[Structure, ...]
    frame_of_reference_uid: str = ""
    sop_instance_uid: str = ""
    referenced_series_uid: str = ""
    label: str = "igrt"
    approval_status: str = "UNAPPROVED"

    def __post_init__(self) -> None:
        names = [s.name for s in self.structures]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise StructureError("structure names must be unique", found=", ".join(twice))
        object.__setattr__(self, "structures", tuple(self.structures))

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures)

    def __len__(self) -> int:
        return len(self.structures)

    def __contains__(self, name: object) -> bool:
        return any(s.name == name for s in self.structures)

    def __getitem__(self, name: str) -> Structure:
        for structure in self.structures:
            if structure.name == name:
                return structure
        raise StructureError(
            f"there is no structure '{name}'", found=", ".join(self.names) or "no structures", expected=name
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names in file order."""
        return tuple(s.name for s in self.structures)

    def external(self) -> Structure | None:
        """Return the structure of type EXTERNAL, or None."""
        for structure in self.structures:
            if structure.interpreted_type.upper() == "EXTERNAL" and not structure.is_empty:
                return structure
        return None
