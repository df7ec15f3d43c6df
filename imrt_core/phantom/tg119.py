"""The planning cases of AAPM TG-119 as water phantoms: C-shape, multi-target, prostate, and a head-and-neck like it.

Shapes and dose goals are those of the report [1]_ (given there in cGy; here Gy over the course). It leaves open where
some structures lie; what was chosen here is said with each case. Its head-and-neck case has no published dimensions:
the one here is our own shape and is called "TG-119-like".

All are built around the origin, head first supine (LPS: +x left, +y posterior, +z superior), which is the isocentre.

References
----------
.. [1] G. A. Ezzell et al., "IMRT commissioning: multiple institution planning and dosimetry comparisons, a report from
   AAPM Task Group 119", Med. Phys. 36 (2009) 5359-5373, doi:10.1118/1.3238104.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.margins import expand
from imrt_core.machine.density import AIR
from imrt_core.patient import Contour, Goal, Grid, InputRefusedError, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure, structure_from_mask

from .tg119_shapes import SLICE_MM, DrawnRegion

_VOXEL_MM = 2.5
#: Half length of the phantoms.
_HALF_LENGTH_MM = 100.0
#: Equidistant beams from anterior: nine by 40°, or seven by 50° (the last gap is 60°).
NINE_BEAMS = tuple(40.0 * n for n in range(9))
SEVEN_BEAMS = tuple(50.0 * n for n in range(7))

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tg119Case:
    """A planning problem.

    Parameters
    ----------
    name : str
        As in :data:`CASES`.
    title : str
        For tables.
    red : Volume
        Relative electron density: water in air.
    structures : StructureSet
        With an EXTERNAL.
    prescription_gy : tuple of (str, float)
        Course dose of the targets.
    goals : tuple of Goal
        Of the report.
    fractions : int
        Of about 2 Gy; the report plans one.
    gantry_deg : tuple of float
        Coplanar beams of the report.
    """

    name: str
    title: str
    red: Volume
    structures: StructureSet
    prescription_gy: tuple[tuple[str, float], ...]
    goals: tuple[Goal, ...]
    fractions: int
    gantry_deg: tuple[float, ...]


def tg119_case(name: str) -> Tg119Case:
    """Build a case.

    Parameters
    ----------
    name : str
        One of :data:`CASES`.

    Raises
    ------
    InputRefusedError
        If there is no such case.
    """
    if name not in _BUILDERS:
        raise InputRefusedError("unknown TG-119 case", found=name, expected=", ".join(CASES))
    return _BUILDERS[name]()


def _case(
    name: str,
    title: str,
    outline: Array,
    drawn: Sequence[Structure],
    prescription_gy: Sequence[tuple[str, float]],
    goals: Sequence[str],
    *,
    fractions: int,
    gantry_deg: tuple[float, ...],
) -> Tg119Case:
    planes = np.arange(-_HALF_LENGTH_MM + SLICE_MM / 2, _HALF_LENGTH_MM, SLICE_MM)
    body = Structure(
        "External",
        tuple(Contour(np.column_stack([outline, np.full(len(outline), z)])) for z in planes),
        interpreted_type="EXTERNAL",
    )
    reach = np.abs(outline).max(axis=0) + 10.0
    size = np.ceil(2 * np.append(reach, _HALF_LENGTH_MM) / _VOXEL_MM).astype(int)
    origin = -0.5 * (size - 1) * _VOXEL_MM
    grid = Grid(
        (int(size[2]), int(size[1]), int(size[0])),
        (_VOXEL_MM,) * 3,
        (float(origin[0]), float(origin[1]), float(origin[2])),
    )
    inside = np.asarray(mask_from_structure(body, grid).array)
    numbered = tuple(
        Structure(s.name, s.contours, number=number, interpreted_type=s.interpreted_type)
        for number, s in enumerate((body, *drawn), start=1)
    )
    return Tg119Case(
        name=name,
        title=title,
        red=Volume(np.maximum(inside, AIR).astype(np.float32), grid),
        structures=StructureSet(numbered, label=f"TG-119 {name}"[:16]),
        prescription_gy=tuple(prescription_gy),
        goals=tuple(Goal.parse(goal) for goal in goals),
        fractions=fractions,
        gantry_deg=gantry_deg,
    )


def _slab() -> Array:
    """Outline of the slab phantom: 30 cm wide, 15 cm thick, as that of the report's own CT."""
    return np.array([[-150.0, -75.0], [150.0, -75.0], [150.0, 75.0], [-150.0, 75.0]])


def _ellipse(semi_x_mm: float, semi_y_mm: float) -> Array:
    angle = 2.0 * np.pi * np.arange(180) / 180
    return np.column_stack([semi_x_mm * np.cos(angle), semi_y_mm * np.sin(angle)])


def _c_shape(*, hard: bool = False) -> Tg119Case:
    """Core of radius 1 cm, 10 cm long; target from radius 1.5 to 3.7 cm, 8 cm long, around its anterior side.

    The report does not say how far the C reaches around. Here it ends at a coronal plane 5 mm behind the axis, as in
    the CT that matRad and pyRadPlan distribute as TG-119.
    """
    canvas = DrawnRegion.fresh()
    radius = np.hypot(canvas.x, canvas.y)
    ring = np.maximum.reduce([radius - 37.0, 15.0 - radius, canvas.y - 5.0])
    drawn = (
        canvas.structure("PTV", canvas.between(ring, -40.0, 40.0), "PTV"),
        canvas.structure("Core", canvas.cylinder(10.0, -50.0, 50.0)),
    )
    return _case(
        "c-shape-hard" if hard else "c-shape",
        "C-shape (hard)" if hard else "C-shape (easy)",
        _slab(),
        drawn,
        (("PTV", 50.0),),
        ("PTV D95%[Gy] >= 50", "PTV D10%[Gy] < 55", f"Core D10%[Gy] < {10 if hard else 25}"),
        fractions=25,
        gantry_deg=NINE_BEAMS,
    )


def _multi_target() -> Tg119Case:
    """Three cylinders of 4 cm diameter and length, stacked along the axis."""
    canvas = DrawnRegion.fresh()
    drawn = tuple(
        canvas.structure(name, canvas.cylinder(20.0, middle - 20.0, middle + 20.0), "PTV")
        for name, middle in (("Center", 0.0), ("Superior", 40.0), ("Inferior", -40.0))
    )
    return _case(
        "multi-target",
        "Multi-target",
        _slab(),
        drawn,
        (("Center", 50.0), ("Superior", 25.0), ("Inferior", 12.5)),
        (
            "Center D99%[Gy] > 50",
            "Center D10%[Gy] < 53",
            "Superior D99%[Gy] > 25",
            "Superior D10%[Gy] < 35",
            "Inferior D99%[Gy] > 12.5",
            "Inferior D10%[Gy] < 25",
        ),
        fractions=25,
        gantry_deg=SEVEN_BEAMS,
    )


def _prostate() -> Tg119Case:
    """CTV an ellipsoid of 4.0 × 2.6 × 6.5 cm (RL, AP, SI) with the rectum, 1.5 cm wide, in its posterior indentation.

    PTV = CTV + 6 mm; bladder 5 × 4 × 5 cm. Chosen here: the indentation is 1 mm deep, which puts 40 % of the rectum of
    the middle slice into the PTV (the report: about a third); the rectum is 10 cm long; the bladder lies superior and
    anterior of the prostate with 6 % of it in the PTV: with more than 10 % there, no plan could meet the goals.
    """
    canvas = DrawnRegion.fresh()
    rectum = canvas.cylinder(7.5, -50.0, 50.0, y=19.5)
    prostate = np.maximum(canvas.ellipsoid((0.0, 0.0, 0.0), (20.0, 13.0, 32.5)), -rectum)
    ctv = canvas.mask(prostate)
    bladder = np.maximum(canvas.ellipsoid((0.0, -14.0, 46.0), (25.0, 20.0, 25.0)), -prostate)
    drawn = (
        structure_from_mask(ctv, name="CTV", interpreted_type="CTV"),
        structure_from_mask(expand(ctv, 6.0), name="PTV", interpreted_type="PTV"),
        canvas.structure("Rectum", rectum),
        canvas.structure("Bladder", bladder),
    )
    return _case(
        "prostate",
        "Prostate",
        _slab(),
        drawn,
        (("PTV", 75.6),),
        (
            "PTV D95%[Gy] >= 75.6",
            "PTV D5%[Gy] < 83",
            "Rectum D30%[Gy] < 70",
            "Rectum D10%[Gy] < 75",
            "Bladder D30%[Gy] < 70",
            "Bladder D10%[Gy] < 75",
        ),
        fractions=42,
        gantry_deg=SEVEN_BEAMS,
    )


def _head_neck() -> Tg119Case:
    """Our own shape, TG-119-like: all of the anterior neck and the posterior nodes, around a cord 15 mm away.

    Neck an elliptical cylinder of 16 × 13 cm; PTV 6 mm below the skin, 15 mm from the cord, 10 cm long; parotids at its
    superior end, 3 mm beyond its edge.
    """
    canvas = DrawnRegion.fresh()
    semi_x, semi_y, cord_y = 80.0, 65.0, 25.0
    rho = np.hypot(canvas.x / semi_x, canvas.y / semi_y)
    slope = np.hypot(canvas.x / semi_x**2, canvas.y / semi_y**2) / np.maximum(rho, 1e-6)
    below_skin = (rho - 1.0) / np.maximum(slope, 1e-6)
    cord = canvas.cylinder(7.5, -70.0, 70.0, y=cord_y)
    parotids = {
        f"Parotid_{side}": canvas.ellipsoid((x, 0.0, 35.0), (13.0, 18.0, 22.0))
        for side, x in (("L", 56.0), ("R", -56.0))
    }
    around_cord = 22.5 - np.hypot(canvas.x, canvas.y - cord_y)
    parts = [below_skin + 6.0, around_cord, canvas.y - cord_y - 5.0, np.abs(canvas.x) - 60.0]
    # beyond the parotids' lower poles the target keeps medial of them
    beside = np.where(canvas.z > 10.0, np.abs(canvas.x) - (56.0 - 13.0 - 3.0), -np.inf)
    target = np.maximum.reduce([*parts, beside])
    drawn = (
        canvas.structure("PTV", canvas.between(target, -50.0, 50.0), "PTV"),
        canvas.structure("SpinalCord", cord),
        *(canvas.structure(name, level) for name, level in parotids.items()),
    )
    return _case(
        "head-and-neck",
        "Head and neck (TG-119-like)",
        _ellipse(semi_x, semi_y),
        drawn,
        (("PTV", 50.0),),
        (
            "PTV D90%[Gy] >= 50",
            "PTV D99%[Gy] > 46.5",
            "PTV D20%[Gy] < 55",
            "SpinalCord Max[Gy] < 40",
            "Parotid_L D50%[Gy] < 20",
            "Parotid_R D50%[Gy] < 20",
        ),
        fractions=25,
        gantry_deg=NINE_BEAMS,
    )


_BUILDERS: dict[str, Callable[[], Tg119Case]] = {
    "c-shape": _c_shape,
    "c-shape-hard": lambda: _c_shape(hard=True),
    "multi-target": _multi_target,
    "prostate": _prostate,
    "head-and-neck": _head_neck,
}
CASES = tuple(_BUILDERS)
