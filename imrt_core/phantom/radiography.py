"""Simulated kV radiographs of a patient: spectrum, blur, scatter, noise.

Nothing here comes from ``registration``: the projector adds exact lengths in voxels instead of sampling between them,
the spectrum has three energies instead of one, and tissue is split into soft tissue and bone in another way. A match
of these images is therefore no match of a program with itself.

References
----------
.. [1] Hubbell JH, Seltzer SM. NISTIR 5632 (1995): soft tissue and cortical bone of ICRU report 44.
.. [2] Ohnesorge B, Flohr T, Klingenbeck-Regn K. Efficient object scatter correction algorithm for third and fourth
   generation CT scanners. Eur Radiol 9 (1999) 563-569.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import Grid, PatientIdentity, PlanError, RigidTransform, Volume

from ._siddon import two_materials

# keV, share of what the panel registers without a patient; soft tissue and cortical bone, cm²/g [1].
_SPECTRUM = ((40.0, 0.25, 0.2688, 0.6655), (60.0, 0.45, 0.2048, 0.3148), (80.0, 0.30, 0.1823, 0.2229))


@dataclass(frozen=True)
class KvImager:
    """A kV source and its panel.

    Parameters
    ----------
    blur_mm : float
        Standard deviation of focal spot and panel together, at the panel.
    scatter_share : float
        Scatter as a share of what the patient took out of the beam nearby: attenuation times primary intensity [2]_.
    scatter_range_mm : float
        Standard deviation of what "nearby" is, at the panel.
    photons : float
        Photons per mm² of the panel without a patient.
    heel : float
        How much darker the beam is at one end of the panel than at the other (heel effect).
    beyond_mm : float
        How far the patient goes on beyond his CT, as his last slice.
    """

    blur_mm: float = 0.45
    scatter_share: float = 0.15
    scatter_range_mm: float = 60.0
    photons: float = 4.0e4
    heel: float = 0.08
    beyond_mm: float = 80.0


def simulate_radiograph(
    hu: Volume,
    view: ProjectionView,
    day_from_fixed: RigidTransform,
    *,
    seed: int,
    imager: KvImager | None = None,
    patient: PatientIdentity | None = None,
    label: str = "kV",
) -> Radiograph:
    """Take a radiograph of a patient.

    Parameters
    ----------
    hu : Volume
        The patient, HU, planning frame.
    view : ProjectionView
        Source and panel.
    day_from_fixed : RigidTransform
        Where the patient lies: planning frame to the frame of the day (machine isocentre at its origin).
    seed : int
        Of the noise.
    imager : KvImager, optional
        What takes the image.
    patient : PatientIdentity, optional
        Whose image it is.
    label : str
        For people.

    Returns
    -------
    Radiograph
        ``attenuation`` is −log of counts over counts without a patient.

    Raises
    ------
    PlanError
        If the imager is no imager: negative blur or scatter, or no photons.
    """
    imager = imager or KvImager()
    if min(imager.blur_mm, imager.scatter_share, imager.beyond_mm) < 0 or imager.photons <= 0:
        raise PlanError("this imager takes no images", found=str(imager))
    soft, bone, grid = _materials(hu, imager.beyond_mm)
    index_from_day = grid.index_from_lps @ day_from_fixed.inverse().matrix
    pixels = view.pixel_centres_lps().reshape(-1, 3)
    thick_soft, thick_bone = two_materials(soft, bone, index_from_day, view.source_lps, pixels)
    primary = np.zeros(view.shape)
    for _, share, per_soft, per_bone in _SPECTRUM:
        # cm²/g · g/cm³ · mm / 10
        primary += share * np.exp(-(per_soft * thick_soft + per_bone * thick_bone) / 10.0).reshape(view.shape)
    spacing = np.asarray(view.spacing_mm)
    primary = ndimage.gaussian_filter(primary, imager.blur_mm / spacing, mode="nearest")
    taken_out = -np.log(primary) * primary
    scatter = imager.scatter_share * ndimage.gaussian_filter(
        taken_out, imager.scatter_range_mm / spacing, mode="nearest", truncate=2.0
    )
    heel = 1.0 + imager.heel * np.linspace(-0.5, 0.5, view.shape[0])[:, None]
    free = imager.photons * float(np.prod(spacing))
    counts = np.random.default_rng(seed).poisson(free * heel * (primary + scatter))
    attenuation = -np.log(np.maximum(counts, 1) / free)
    return Radiograph(
        view,
        attenuation.astype(np.float32),
        patient=patient or PatientIdentity(""),
        label=label,
    )


def _materials(hu: Volume, beyond_mm: float) -> tuple[NDArray[np.float32], NDArray[np.float32], Grid]:
    """Return soft tissue and bone (g/cm³), the last slices repeated beyond the CT, and the longer grid."""
    more = int(np.ceil(beyond_mm / hu.grid.spacing_mm[2]))
    values = np.clip(np.nan_to_num(hu.array.astype(np.float32), nan=-1000.0), -1000.0, 3000.0)
    values = np.pad(values, ((more, more), (0, 0), (0, 0)), mode="edge")
    # Marrow and cartilage begin near 120 HU; at 1500 HU and more there is nothing but mineralised bone.
    share = np.clip((values - np.float32(120.0)) / np.float32(1380.0), 0.0, 1.0)
    density = np.where(values < 120, 1.0 + values / 1000.0, 1.12 + (values - 120.0) * np.float32(0.8 / 1380.0))
    nz, ny, nx = hu.grid.shape
    grid = Grid(
        (nz + 2 * more, ny, nx),
        hu.grid.spacing_mm,
        tuple(hu.grid.to_lps([0.0, 0.0, -float(more)])),
        hu.grid.direction,
    )
    density = density.astype(np.float32)
    return density * (1 - share), density * share, grid
