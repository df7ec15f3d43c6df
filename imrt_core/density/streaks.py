"""Streaks around metal: dark and bright voxels that are neither gas nor bone, overridden to soft tissue.

The rule, for every slice that holds metal, inside EXTERNAL:

- *dark*: below :data:`DARK_HU`, lower than fat. Not gas: a cavity of gas (below :data:`GAS_HU`) is kept where it goes
  on, over at least a third of its area, into the nearest slice without metal, or where it lies further than
  :data:`REACH_MM` from the metal.
- *bright*: above :data:`BRIGHT_HU`, brighter than muscle and contrast medium. Not bone: what a disc of
  :data:`BONE_DISC_MM` radius fits into above :data:`BONE_HU`, with its rim, and what goes on as bone into the nearest
  slice without metal.
- both within :data:`REACH_MM` of metal in the slice;
- in the next slice at each end, what is dark or bright likewise and touches a streak of the slice with metal.

What the rule cannot tell: streaks milder than these limits stay (±5 % of density), thin bone plates near metal become
soft tissue. The override is reported in cc; a person who draws it better gives the region a density in the structure
set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, Volume

Mask = NDArray[np.bool_]

DARK_HU = -200.0
GAS_HU = -500.0
BRIGHT_HU = 200.0
BONE_HU = 250.0
BONE_DISC_MM = 2.0
REACH_MM = 100.0
#: What streak voxels become: ICRU 44 soft tissue (relative electron density, g/cm³).
SOFT_TISSUE = (1.03, 1.04)


def find_streaks(hu: Volume, metal: Mask, *, inside: Volume) -> Mask:
    """Return the streak voxels around metal.

    Parameters
    ----------
    hu : Volume
        Hounsfield units on transverse slices.
    metal : ndarray of bool, shape of the image
        Voxels of metal.
    inside : Volume
        Fractions of EXTERNAL, on the same grid.

    Returns
    -------
    ndarray of bool
        Shape of the image; never metal, never outside.
    """
    values: NDArray[np.float32] = np.asarray(hu.array, dtype=np.float32)
    streaks = np.zeros(values.shape, dtype=bool)
    held: Mask = np.asarray(metal.any(axis=(1, 2)))
    if not held.any():
        return streaks
    slab = np.asarray(ndimage.binary_dilation(held))
    clean = np.flatnonzero(~slab)
    body = np.asarray(inside.array) >= 0.5
    sampling = hu.grid.spacing_mm[1::-1]
    for k in (*np.flatnonzero(held), *np.flatnonzero(slab & ~held)):
        nearest_metal = int(np.flatnonzero(held)[np.argmin(np.abs(np.flatnonzero(held) - k))])
        near = ndimage.distance_transform_edt(~metal[nearest_metal], sampling=sampling) <= REACH_MM
        other = None if not len(clean) else values[clean[np.argmin(np.abs(clean - k))]]
        region = body[k] & near & ~ndimage.binary_dilation(metal[k])
        dark = (values[k] < DARK_HU) & ~_gas(values[k], other)
        bright = (values[k] > BRIGHT_HU) & ~_bone(values[k], metal[k], other, hu.grid)
        streaks[k] = region & (dark | bright)
        if not held[k]:
            streaks[k] &= ndimage.binary_dilation(streaks[nearest_metal])
    return streaks


def _gas(plane: NDArray[np.float32], other: NDArray[np.float32] | None) -> Mask:
    """Return cavities of gas that go on in a slice without metal, with their rims."""
    if other is None:
        return np.zeros(plane.shape, dtype=bool)
    labels, count = ndimage.label(plane < GAS_HU)
    if not count:
        return np.zeros(plane.shape, dtype=bool)
    index = np.arange(1, count + 1)
    shared = ndimage.mean((other < GAS_HU).astype(np.float32), labels, index)
    gas = np.isin(labels, index[shared >= 1 / 3])
    return np.asarray(ndimage.binary_dilation(gas, iterations=2))


def _bone(plane: NDArray[np.float32], metal: Mask, other: NDArray[np.float32] | None, grid: Grid) -> Mask:
    """Return bone: thick above the threshold, or bone in the nearest slice without metal too."""
    sampling = grid.spacing_mm[1::-1]
    dense = (plane > BONE_HU) & ~metal
    core = ndimage.distance_transform_edt(dense, sampling=sampling) > BONE_DISC_MM
    thick = ndimage.distance_transform_edt(~core, sampling=sampling) <= BONE_DISC_MM + max(sampling)
    bone = (thick & dense) if core.any() else np.zeros(plane.shape, dtype=bool)
    if other is not None:
        bone |= dense & ndimage.binary_dilation(other > BONE_HU)
    return np.asarray(ndimage.binary_dilation(bone))
