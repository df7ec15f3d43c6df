"""Digital patients on a table, and with metal whose streaks are simulated by projection; the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.phantom import DigitalPatient, build_patient

Mask = NDArray[np.bool_]

#: Water at 120 kVp, per mm, in two energy bins of equal weight; metals in units of water.
_WATER_PER_MM = np.array([0.0225, 0.0175])
_METAL = {"gold alloy": np.array([60.0, 25.0]), "titanium": np.array([12.0, 6.0]), "steel": np.array([28.0, 12.0])}
_PHOTONS = 2e5


@cache
def patient(site: str) -> DigitalPatient:
    return build_patient(site, seed=3)


@cache
def body(site: str) -> Mask:
    """The EXTERNAL that the phantom was built from."""
    planning = patient(site).planning
    external = planning.structures.external()
    assert external is not None
    return np.asarray(mask_from_structure(external, planning.ct.hu.grid).array >= 0.5)


def middle(site: str, *, slices: int = 40) -> tuple[Volume, Mask]:
    """CT and EXTERNAL of the middle of a patient, to be quick."""
    hu = patient(site).planning.ct.hu
    first = (hu.grid.shape[0] - slices) // 2
    grid = hu.grid.cropped((0, 0, first), (*hu.grid.shape[:0:-1], first + slices))
    return Volume(hu.array[first : first + slices], grid), body(site)[first : first + slices]


def on_a_table(hu: Volume, inside: Mask, *, up: int = -1, plate_mm: float = 10.0, gap_mm: float = 0.0) -> Volume:
    """Put a base plate of acrylic and a curved table top below the patient; ``up`` is the sense of y that points up.

    The grid grows by what the table needs. The plate touches the lowest point of the patient where the gap is 0.
    """
    room = 60
    below = (0, room) if up < 0 else (room, 0)
    array = np.pad(hu.array, ((0, 0), below, (25, 25)), constant_values=-1000.0)
    grid = hu.grid.cropped((-25, -below[0], 0), (hu.grid.shape[2] + 25, hu.grid.shape[1] + below[1], hu.grid.shape[0]))
    rows = np.flatnonzero(np.pad(inside, ((0, 0), below, (25, 25))).any(axis=(0, 2)))
    dy = grid.spacing_mm[1]
    row = np.arange(grid.shape[1])[:, None] * dy
    skin = (rows[-1] + 0.5) * dy if up < 0 else (rows[0] - 0.5) * dy
    depth = (row - skin) * (1 if up < 0 else -1)  # below the skin
    x = (np.arange(grid.shape[2])[None] - grid.shape[2] / 2) * grid.spacing_mm[0]
    plate = (depth >= gap_mm) & (depth < gap_mm + plate_mm) & (np.abs(x) < 200)
    shell = np.abs(depth - gap_mm - plate_mm - 45 + 35 * (x / 240) ** 2) < 2.5
    foam = (depth >= gap_mm + plate_mm) & (depth < gap_mm + plate_mm + 45 - 35 * (x / 240) ** 2)
    array = array.copy()
    for part, value in ((foam, -960.0), (plate, 110.0), (shell, -150.0)):
        array[:, part] = np.maximum(array[:, part], value)
    return Volume(array.astype(np.float32), grid)


def with_noise(hu: Volume, *, seed: int = 1, sigma_hu: float = 40.0) -> Volume:
    noise = np.random.default_rng(seed).normal(0, sigma_hu, hu.grid.shape)
    return hu.with_array(np.clip(hu.array + noise, -1024, 3071).astype(np.float32))


def dice(a: Mask, b: Mask) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def hd95_mm(a: Mask, b: Mask, grid: Grid) -> float:
    """95th percentile of the distances from either surface to the other."""
    hit = np.flatnonzero((a | b).any(axis=(1, 2)))
    a, b = (np.pad(m[hit[0] : hit[-1] + 1], 1, mode="edge")[:, 1:-1, 1:-1] for m in (a, b))
    edges = [m & ~ndimage.binary_erosion(m, border_value=1) for m in (a, b)]
    sampling = grid.spacing_mm[::-1]
    found = [ndimage.distance_transform_edt(~other, sampling=sampling)[one] for one, other in (edges, edges[::-1])]
    return float(np.percentile(np.concatenate(found), 95))


@dataclass(frozen=True, eq=False)
class MetalCase:
    """A CT with metal: the truth without streaks, and what a scanner makes of it."""

    site: str
    metal_name: str
    true_hu: Volume
    hu: Volume
    metal: Mask
    body: Mask


@cache
def gold_crowns() -> MetalCase:
    """Two gold crowns on molars, 8 × 10 × 9 mm each."""
    return _with_metal("head-neck", "gold alloy", "crowns", slice(43, 50))


@cache
def titanium_hip(metal_name: str = "titanium") -> MetalCase:
    """Head and stem of a hip prosthesis in the left femur."""
    return _with_metal("pelvis", metal_name, "hip", slice(34, 44))


def _with_metal(site: str, metal_name: str, kind: str, slices: slice) -> MetalCase:
    made = patient(site)
    grid = made.tissue_hu.grid
    part = grid.cropped((0, 0, slices.start), (grid.shape[2], grid.shape[1], slices.stop))
    tissue = np.asarray(made.tissue_hu.array[slices])
    points = part.voxel_centres_lps()
    metal = np.zeros(part.shape, dtype=bool)
    for centre, semi in _solids(made, kind):
        metal |= (((points - centre) / semi) ** 2).sum(axis=-1) < 1
    inside = body(site)[slices]
    image = tissue.copy()
    # Streaks are projected within the patient's box only: fewer pixels to turn.
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    for k in np.flatnonzero(metal.any(axis=(1, 2))):
        image[k][box] += _streaks(tissue[k][box], metal[k][box], part, _METAL[metal_name], seed=int(k))
    noise = np.random.default_rng(5).normal(0, 12, part.shape)
    image = np.clip(image + noise, -1024, 3071)
    image[metal] = 3071.0
    return MetalCase(
        site, metal_name, Volume(tissue, part), Volume(np.rint(image).astype(np.float32), part), metal, inside
    )


def _solids(made: DigitalPatient, kind: str) -> list[tuple[NDArray[np.float64], tuple[float, float, float]]]:
    structures = made.planning.structures
    if kind == "crowns":
        jaw = np.concatenate([c.points_lps for c in structures["Bone_Mandible"].contours])
        y, z = jaw[:, 1].min() + 32.0, float(np.percentile(jaw[:, 2], 35)) + 14.0
        return [(np.array([side * 24.0, y, z]), (4.0, 5.0, 4.5)) for side in (1.0, -1.0)]
    head = np.concatenate([c.points_lps for c in structures["Femur_Head_L"].contours])
    centre = head.mean(axis=0)
    stem = [(centre + np.array([0.45, 0.0, -1.0]) * s, (8.0, 8.0, 9.0)) for s in np.arange(12, 60, 6)]
    return [(centre, (15.0, 15.0, 15.0)), *stem]


def _streaks(
    tissue: NDArray[np.float32], metal: Mask, grid: Grid, attenuation: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """Return what a filtered back-projection shows of one slice beside the truth: hardening, starvation, noise."""
    dx = grid.spacing_mm[0]
    size = int(np.ceil(np.hypot(*tissue.shape))) + 2
    padding = [((size - n) // 2, size - n - (size - n) // 2) for n in tissue.shape]
    water = np.pad(np.clip(1 + tissue / 1000.0, 0, None) * ~metal, padding)
    solid = np.pad(metal.astype(float), padding)
    angles = np.arange(0, 180, 2.0)
    rng = np.random.default_rng(seed)
    total = np.zeros((size, size))
    frequency = np.abs(np.fft.fftfreq(2 * size, d=dx))
    for angle in angles:
        path_water = ndimage.rotate(water, angle, reshape=False, order=1).sum(axis=0) * dx
        path_metal = ndimage.rotate(solid, angle, reshape=False, order=1).sum(axis=0) * dx
        both = _WATER_PER_MM[:, None] * (path_water + attenuation[:, None] * path_metal)
        alone = _WATER_PER_MM[:, None] * path_water
        counts = _PHOTONS * np.exp(-both).mean(axis=0)
        seen = np.maximum(counts + rng.normal(0, np.sqrt(counts + 4.0)), 2.0)
        error = -np.log(seen / _PHOTONS) + np.log(np.exp(-alone).mean(axis=0))
        # The metal itself, as its mean attenuation would show it, is no error; neither is noise beside it.
        error = np.where(path_metal > 0, error - _WATER_PER_MM.mean() * attenuation.min() * path_metal, 0.0)
        filtered = np.fft.ifft(np.fft.fft(error, 2 * size) * frequency).real[:size]
        total += ndimage.rotate(np.tile(filtered, (size, 1)), -angle, reshape=False, order=1)
    total *= np.pi / len(angles) / _WATER_PER_MM.mean() * 1000.0
    (y0, _), (x0, _) = padding
    return np.asarray(total[y0 : y0 + tissue.shape[0], x0 : x0 + tissue.shape[1]])
