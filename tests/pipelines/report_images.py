"""A small head-and-neck-like patient, his image of the day and his dose, made of ellipsoids: something to draw.

Not a physics test: doses are smooth bumps. The geometry is exact, so orientation and frames can be tested. A dense
marker stands in the patient's left cheek only (LPS +x), anterior and superior of the isocentre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import Contour, Grid, RigidTransform, Structure, StructureSet, Volume
from pipelines.report.images import FractionImages

ISOCENTRE_LPS = (2.0, -8.0, -30.0)
MACHINE_ISOCENTRE_LPS = (0.0, 0.0, 0.0)
#: Anatomy found 10 mm left, 5 mm superior, 3 mm anterior of the machine isocentre (HFS): CLINICAL's fixed test.
FOUND_LPS_MM = (10.0, -3.0, 5.0)
MARKER_LPS = (42.0, -48.0, 20.0)


@dataclass(frozen=True)
class Ellipsoid:
    name: str
    centre_lps: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    hu: float
    kind: str = "ORGAN"
    color_rgb: tuple[int, int, int] = (255, 255, 0)

    def contains(self, points_lps: np.ndarray) -> np.ndarray:
        return (((points_lps - self.centre_lps) / self.radii_mm) ** 2).sum(axis=-1) <= 1

    def structure(self, step_mm: float = 3.0) -> Structure:
        """Transverse contours."""
        angle = np.linspace(0, 2 * np.pi, 73)[:-1]
        contours = []
        (cx, cy, cz), (rx, ry, rz) = self.centre_lps, self.radii_mm
        for z in np.arange(np.ceil((cz - rz) / step_mm), np.floor((cz + rz) / step_mm) + 1) * step_mm:
            scale = np.sqrt(max(1 - ((z - cz) / rz) ** 2, 0))
            if scale * min(rx, ry) < 0.5:
                continue
            ring = np.stack(
                [cx + scale * rx * np.cos(angle), cy + scale * ry * np.sin(angle), np.full_like(angle, z)], axis=-1
            )
            contours.append(Contour(ring))
        return Structure(self.name, tuple(contours), interpreted_type=self.kind, color_rgb=self.color_rgb)


def anatomy(parotid_mm: float = 16.0, neck_mm: float = 78.0) -> tuple[Ellipsoid, ...]:
    return (
        Ellipsoid("BODY", (0, 0, -20), (neck_mm, 95, 190), 20, "EXTERNAL", (0, 200, 0)),
        Ellipsoid("Bone_Spine", (0, 45, -20), (14, 14, 180), 700, "ORGAN", (200, 200, 200)),
        Ellipsoid("SpinalCord", (0, 45, -20), (6, 6, 170), 40, "ORGAN", (0, 255, 255)),
        Ellipsoid("Trachea", (0, -38, -70), (9, 11, 80), -950, "ORGAN", (120, 180, 255)),
        Ellipsoid("Parotid_L", (52, 5, 10), (parotid_mm, 22, 28), 10, "ORGAN", (255, 160, 0)),
        Ellipsoid("Parotid_R", (-52, 5, 10), (parotid_mm, 22, 28), 10, "ORGAN", (180, 80, 220)),
        Ellipsoid("PTV70", (14, -8, -25), (33, 29, 42), 45, "PTV", (255, 40, 40)),
        Ellipsoid("CTV70", (14, -8, -25), (28, 24, 37), 45, "CTV", (255, 120, 160)),
        Ellipsoid("Marker", MARKER_LPS, (7, 7, 7), 1500, "MARKER", (255, 255, 255)),
    )


def volume(parts: tuple[Ellipsoid, ...], grid: Grid, *, noise_hu: float, seed: int) -> Volume:
    points = grid.voxel_centres_lps()
    hu = np.full(grid.shape, -1000.0, dtype=np.float32)
    for part in parts:
        hu[part.contains(points)] = part.hu
    return Volume(hu + np.random.default_rng(seed).normal(0, noise_hu, grid.shape).astype(np.float32), grid)


def dose(grid: Grid, *, centre_lps: tuple[float, float, float], peak_gy: float) -> Volume:
    points = grid.voxel_centres_lps()
    distance = np.sqrt((((points - centre_lps) / (36.0, 32.0, 46.0)) ** 2).sum(axis=-1))
    return Volume((peak_gy / (1 + np.exp((distance - 1.15) * 7))).astype(np.float32), grid)


def example_images() -> FractionImages:
    """Planning and day images: the day is shifted by :data:`FOUND_LPS_MM`, the parotids and the neck are smaller."""
    planned, today = anatomy(), anatomy(parotid_mm=13.0, neck_mm=73.0)
    planning_grid = Grid((70, 75, 75), (3.0, 3.0, 4.0), (-111.0, -111.0, -160.0))
    step = np.add(np.subtract(MACHINE_ISOCENTRE_LPS, ISOCENTRE_LPS), FOUND_LPS_MM)
    moving_from_fixed = RigidTransform.from_parameters(translation_mm=step)
    # The table takes the anatomy back by what was found, rounded here to whole millimetres already.
    motion = RigidTransform.from_parameters(translation_mm=np.negative(FOUND_LPS_MM))
    moved = tuple(
        Ellipsoid(p.name, tuple(np.add(p.centre_lps, step)), p.radii_mm, p.hu, p.kind, p.color_rgb) for p in today
    )
    day_grid = Grid((60, 80, 80), (2.7, 2.7, 3.5), (-107.0, -107.0, -105.0))
    dose_grid = Grid((42, 44, 44), (5.0, 5.0, 5.0), (-107.0, -107.0, -125.0))
    # After the shift the planned point is back on the machine isocentre; the beams hit a little to the right of it.
    target = np.add(np.subtract(MACHINE_ISOCENTRE_LPS, ISOCENTRE_LPS), (11.0, -8.0, -25.0))
    after_shift = dose(dose_grid, centre_lps=tuple(target), peak_gy=72.0)
    return FractionImages(
        planning_hu=volume(planned, planning_grid, noise_hu=15, seed=1),
        day_hu=volume(moved, day_grid, noise_hu=45, seed=2),
        isocentre_lps=ISOCENTRE_LPS,
        machine_isocentre_lps=MACHINE_ISOCENTRE_LPS,
        moving_from_fixed=moving_from_fixed,
        shift_motion_lps=motion,
        course_dose_planned_gy=dose(
            Grid((42, 44, 44), (5.0, 5.0, 5.0), (-107.0, -115.0, -150.0)), centre_lps=(14, -8, -25), peak_gy=72.0
        ),
        course_dose_today_gy=after_shift.with_grid(after_shift.grid.transformed(motion.inverse())),
        structures_planned=StructureSet(tuple(p.structure() for p in planned)),
        structures_day=StructureSet(tuple(p.structure() for p in moved)),
    )
