"""Fluence and contamination that reach a lattice: the apertures of one direction seen from focus and head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.machine import BeamModel
from imrt_core.machine.photon_source import HeadView, PhotonSource

from ..fluence import FluenceMap
from ..leaf_motion import coverage
from .fan import Fan

Array = NDArray[np.float64]

#: Cells of the fluence are split until they are at most this wide before they are blurred, mm.
_FINE_MM = 1.5
#: Gaussians end after this many widths.
_REACH = 4.0
#: Cells per width on which an extra-focal source is blurred.
_CELLS_PER_SIGMA = 4


@dataclass(frozen=True, eq=False)
class HeadFluence:
    """Fluence of one direction on a fine raster of the isocentre plane.

    Parameters
    ----------
    photons : ndarray, shape (nv, nu)
        Photons/cm² in air.
    electrons : ndarray, shape (nv, nu)
        Dose by contaminating electrons at the surface, Gy.
    edges_u_mm, edges_v_mm : ndarray
        Edges of cells.
    outside : float
        Photons/cm² beyond the raster, before the primary's off-axis fluence.
    """

    photons: Array
    electrons: Array
    edges_u_mm: Array
    edges_v_mm: Array
    outside: float


def head_fluence(fluence: FluenceMap, model: BeamModel, source: PhotonSource) -> HeadFluence:
    """Return what focus and head send through an opening.

    The focal part is the opening times the primary off-axis fluence, blurred by the focus. The extra-focal part of a
    point is the part of the head's Gaussian source that it sees through the opening in both collimating planes.
    """
    electrons = source.contamination
    leak = model.jaw_transmission * fluence.meterset
    fold = max(int(np.ceil(np.diff(fluence.edges_u_mm[:2])[0] / _FINE_MM)), 1)
    cell = float(np.diff(fluence.edges_u_mm[:2])[0]) / fold
    spread = [_REACH * max(model.blur_mm)]
    spread += [_REACH * max(view.sigma_mm) for head in source.extra_focal for view in head.views(model.sad_mm)]
    spread += [_REACH * electrons.sigma_mm] if electrons.surface_gy_per_mu > 0 else []
    border = int(np.ceil(max(spread) / cell)) + 1
    opening = np.pad(np.repeat(np.repeat(fluence.mu, fold, axis=0), fold, axis=1), border, constant_values=leak)
    edges_u = fluence.edges_u_mm[0] + cell * (np.arange(opening.shape[1] + 1) - border)
    edges_v = fluence.edges_v_mm[0] + cell * (np.arange(opening.shape[0] + 1) - border)
    u, v = (edges_u[1:] + edges_u[:-1]) / 2, (edges_v[1:] + edges_v[:-1]) / 2

    def blurred(array: Array, x_mm: float, y_mm: float) -> Array:
        return np.asarray(ndimage.gaussian_filter(array, (y_mm / cell, x_mm / cell), mode="nearest", truncate=_REACH))

    def seen_by(view: HeadView) -> Array:
        """Part of the source seen at every cell; wide views are blurred on cells of a quarter of their width."""
        fold = max(int(min(view.sigma_mm) / (_CELLS_PER_SIGMA * cell)), 1)
        wide = _block_means(opening, fold)
        # Block means and the interpolation back are blurs themselves, of variances c²/12 and c²/6.
        own = (fold * cell) ** 2 / 4 if fold > 1 else 0.0
        sigma = [np.sqrt(s**2 - own) / (fold * cell) for s in reversed(view.sigma_mm)]
        smooth = ndimage.gaussian_filter(wide, sigma, mode="nearest", truncate=_REACH)
        at_v, at_u = ((k * x - x[0]) / cell for k, x in ((view.kappa[1], v), (view.kappa[0], u)))
        index = np.meshgrid(*((at - (fold - 1) / 2) / fold for at in (at_v, at_u)), indexing="ij")
        return np.asarray(ndimage.map_coordinates(smooth, index, order=1, mode="nearest"))

    focal = opening * model.off_axis_fluence(np.hypot(v[:, None], u[None, :]))
    photons = source.focal_share * blurred(focal, *model.blur_mm)
    for head in source.extra_focal:
        seen = np.minimum(*(seen_by(view) for view in head.views(model.sad_mm)))
        photons += head.share * seen / head.reference(model.sad_mm)
    surface = np.zeros_like(opening)
    if electrons.surface_gy_per_mu > 0:
        surface = electrons.surface_gy_per_mu * blurred(opening, electrons.sigma_mm, electrons.sigma_mm)
    return HeadFluence(
        photons * source.photons_per_cm2_per_mu, surface, edges_u, edges_v, leak * source.photons_per_cm2_per_mu
    )


def _block_means(array: Array, fold: int) -> Array:
    """Return means over squares of ``fold`` cells; what is left over at the far edges is continued."""
    if fold == 1:
        return array
    more = [(0, -n % fold) for n in array.shape]
    whole = np.pad(array, more, mode="edge")
    return np.asarray(whole.reshape(whole.shape[0] // fold, fold, whole.shape[1] // fold, fold).mean(axis=(1, 3)))


def on_fan(fan: Fan, head: HeadFluence, array: Array, model: BeamModel, *, outside: float = 0.0) -> Array:
    """Return the mean over each lattice column, shape (rows, columns); beyond the raster the off-axis leakage."""
    across_u = coverage(fan.edges_mm(0), head.edges_u_mm[:-1], head.edges_u_mm[1:])
    across_v = coverage(fan.edges_mm(1), head.edges_v_mm[:-1], head.edges_v_mm[1:])
    mean = across_v.T @ array @ across_u
    if outside > 0:
        beyond = 1.0 - np.clip(np.outer(across_v.sum(axis=0), across_u.sum(axis=0)), 0.0, 1.0)
        radius = np.hypot(fan.v_mm[:, None], fan.u_mm[None, :])
        mean = mean + beyond * outside * model.off_axis_fluence(radius)
    return np.asarray(mean)
