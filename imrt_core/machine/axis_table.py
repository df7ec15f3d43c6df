"""Dose on the axis of rectangular fields that a photon source and its head would give, by superposition in water."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from imrt_core.physics.depth_dose import RadialFluence, axis_dose
from imrt_core.physics.point_kernels import water_point_kernels
from imrt_core.physics.spectrum import GY_PER_MEV_PER_G

from .beam_model import BeamModel
from .photon_source import ElectronContamination, ExtraFocalSource, PhotonSource

Array = NDArray[np.float64]

#: Directions over which the fluence on a circle is averaged, in one quadrant.
_DIRECTIONS = (np.arange(24) + 0.5) / 24 * np.pi / 2


@dataclass(frozen=True)
class OffAxis:
    """Primary fluence of the open beam.

    Parameters
    ----------
    radius_mm, fluence : tuple of float
        On the isocentre plane, relative to the axis; zero beyond the last radius.
    source_sigma_mm : float
        Blur of edges by the focus, on the isocentre plane.
    sad_mm : float
        Distance of the isocentre plane.
    """

    radius_mm: tuple[float, ...]
    fluence: tuple[float, ...]
    source_sigma_mm: float
    sad_mm: float = 1000.0

    @classmethod
    def of(cls, model: BeamModel) -> OffAxis:
        """Return that of a beam model."""
        return cls(model.fluence_radius_mm, model.fluence, model.source_sigma_mm, model.sad_mm)

    def at(self, radius_mm: Array) -> Array:
        """Return the fluence at distances from the axis."""
        return np.asarray(np.interp(radius_mm, self.radius_mm, self.fluence, right=0.0))


def focal_fluence(field_mm: tuple[float, float], off_axis: OffAxis) -> RadialFluence:
    """Return what the focus sends through a field of two sides, as the mean over circles."""

    def mean(radius_mm: Array) -> Array:
        opened = _through(radius_mm, field_mm, (off_axis.source_sigma_mm,) * 2, (1.0, 1.0)).mean(axis=-1)
        return np.asarray(opened * off_axis.at(np.asarray(radius_mm)))

    return mean


def head_fluence(field_mm: tuple[float, float], head: ExtraFocalSource, sad_mm: float) -> RadialFluence:
    """Return what the extra-focal source sends, 1 on the axis of a 10×10 cm field."""
    views, reference = head.views(sad_mm), head.reference(sad_mm)

    def mean(radius_mm: Array) -> Array:
        seen = np.minimum(*(_through(radius_mm, field_mm, view.sigma_mm, view.kappa) for view in views))
        return np.asarray(seen.mean(axis=-1) / reference)

    return mean


def _through(
    radius_mm: Array, field_mm: tuple[float, float], sigma_mm: tuple[float, float], scale: tuple[float, float]
) -> Array:
    """Return a rectangle blurred and scaled along X and Y, on circles: directions are the last axis."""
    radius = np.asarray(radius_mm, dtype=float)[..., None]

    def between(x: Array, axis: int) -> Array:
        half, sigma = field_mm[axis] / 2, max(sigma_mm[axis], 1e-3)
        return np.asarray(ndtr((scale[axis] * x + half) / sigma) - ndtr((scale[axis] * x - half) / sigma))

    return between(radius * np.cos(_DIRECTIONS), 0) * between(radius * np.sin(_DIRECTIONS), 1)


def electrons_on_axis(
    electrons: ElectronContamination, field_mm: tuple[float, float], depth_mm: ArrayLike, distance_mm: ArrayLike
) -> Array:
    """Return the dose by contaminating electrons per ``surface_gy_per_mu`` and MU, SAD² apart: exp(−d/λ)·opening/r²."""
    depth, distance = np.asarray(depth_mm, dtype=float), np.asarray(distance_mm, dtype=float)
    opening = np.prod([2 * ndtr(side / 2 / electrons.sigma_mm) - 1 for side in field_mm])
    return np.asarray(np.exp(-depth / electrons.depth_mm) * opening / distance**2)


def spectrum_on_nodes(source: PhotonSource) -> Array:
    """Return the photon fluence of the spectrum at the energies of the point kernels, linear in log energy."""
    nodes = np.log(water_point_kernels().energy_mev)
    x = np.clip(np.log(source.spectrum.energy_mev), nodes[0], nodes[-1])
    i = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    f = (x - nodes[i]) / (nodes[i + 1] - nodes[i])
    result = np.zeros(len(nodes))
    np.add.at(result, i, (1 - f) * source.spectrum.fluence)
    np.add.at(result, i + 1, f * np.asarray(source.spectrum.fluence))
    return result


def axis_table(
    source: PhotonSource,
    off_axis: OffAxis,
    *,
    depth_mm: ArrayLike,
    ssd_mm: ArrayLike,
    fields_mm: Sequence[tuple[float, float]],
) -> Array:
    """Return Gy per MU on the axis, shape (depths, fields).

    Parameters
    ----------
    source : PhotonSource
        Spectrum, head, electrons, fluence per MU.
    off_axis : OffAxis
        Primary fluence.
    depth_mm, ssd_mm : array_like, shape (n,) or one number
        Points, and where the surface then is.
    fields_mm : sequence of (float, float)
        Sides along X and Y on the isocentre plane.
    """
    depth = np.atleast_1d(np.asarray(depth_mm, dtype=float))
    count = len(fields_mm)
    fluences = [focal_fluence(f, off_axis) for f in fields_mm]
    fluences += [head_fluence(f, head, off_axis.sad_mm) for head in source.extra_focal for f in fields_mm]
    basis = axis_dose(
        depth,
        ssd_mm,
        fluences,
        sad_mm=off_axis.sad_mm,
        steeper=lambda radius: source.attenuation_off_axis(radius, off_axis.sad_mm),
    )
    each = np.tensordot(spectrum_on_nodes(source), basis, axes=1) * GY_PER_MEV_PER_G * source.photons_per_cm2_per_mu
    shares = [source.focal_share, *(head.share for head in source.extra_focal)]
    table = np.zeros((len(depth), count))
    for n, share in enumerate(shares):
        table += share * each[:, n * count : (n + 1) * count]
    electrons = source.contamination
    for n, field in enumerate(fields_mm):
        part = electrons_on_axis(electrons, field, depth, np.asarray(ssd_mm) + depth)
        table[:, n] += electrons.surface_gy_per_mu * off_axis.sad_mm**2 * part
    return np.asarray(table)
