"""From released energy to dose on the lattice of one beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from ._sweep import bordered, inner, sweep
from .cones import RATIOS, Cones
from .fan import Fan

#: Groups of directions with a dose of their own, summed in order: fixed, so that results do not depend on threads.
_GROUPS = 4
#: For each dominant axis of a direction (u, v, w): order of array axes, so that the dominant one comes first.
_ORDERS = {2: (0, 1, 2), 1: (1, 0, 2), 0: (2, 0, 1)}
#: Lattice axis (0 = plane, 1 = row, 2 = column) to component of a direction.
_COMPONENT = (2, 1, 0)


def transport(fan: Fan, soft: NDArray[np.float32], hard: NDArray[np.float32], cones: Cones) -> NDArray[np.float32]:
    """Return the energy absorbed per mass in every cell.

    Parameters
    ----------
    fan : Fan
        Lattice.
    soft, hard : ndarray, shape (planes, rows, columns)
        Energy released per mass in each cell that travels as the soft and as the hard spectrum's does.
    cones : Cones
        Where it goes.
    """
    total = np.zeros(fan.shape, dtype=np.float32)
    relative = fan.distance_mm / fan.middle_mm
    share = make_interp_spline(RATIOS, cones.share, k=1)(np.clip(1 / relative, RATIOS[0], RATIOS[-1]))
    leading = np.abs(cones.direction).argmax(axis=1)
    for axis, order in _ORDERS.items():
        chosen = np.flatnonzero(leading == axis)
        if not len(chosen):
            continue
        density = fan.density.transpose(order)
        step = cones.direction[chosen][:, [_COMPONENT[lattice_axis] for lattice_axis in order]]
        advance = np.abs(step[:, :1])
        # A step goes the same number of cells everywhere: sideways they grow with r, along the beam with r².
        sideways, along = np.hypot(*cones.direction[chosen, :2].T), cones.direction[chosen, 2]
        length_mm = fan.middle_cell_mm * np.hypot(np.outer(sideways, relative), np.outer(along, relative**2)) / advance
        water = bordered(density, border=1.0)
        dose = np.zeros((_GROUPS, *water.shape), dtype=np.float32)
        sweep(
            water,
            1 / water,
            bordered(soft.transpose(order) * density),
            bordered(hard.transpose(order) * density),
            (relative**4).astype(np.float32),
            density.shape[2],
            order[0] != 0,
            np.ascontiguousarray(step[:, 1:] / advance),
            (length_mm[:, :, None] * cones.rate_per_mm[chosen][:, None, :]).astype(np.float32),
            np.ascontiguousarray(share[:, chosen].swapaxes(0, 1), dtype=np.float32),
            step[:, 0] < 0,
            dose,
        )
        total += inner(dose.sum(axis=0), density.shape[2]).transpose(np.argsort(order))
    return total
