"""2D/3D match: from radiographs and a planning CT to where the patient lies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from imrt_core.geometry.radiograph import Radiograph
from imrt_core.patient import RegistrationError, RigidTransform, Volume

from .attenuation import ENERGY_KEV
from .freedom import basis_of, freedom_of, widest_angle_deg
from .images import LevelImage, PlanningPatient, level_image
from .quality import ProjectionLimits, ProjectionQuality, judge_projection, uncertainty
from .refine import Fit, refine, view_fit
from .search import aligned, turned

Array = NDArray[np.float64]

#: Pixels at the isocentre, and largest voxels, of the three resolutions, mm.
COARSE_MM, MIDDLE_MM, FINE_MM = 4.0, 2.5, 1.5
#: How far the search looks from the planned isocentre, and where nobody says where that is.
REACH_MM, BLIND_REACH_MM = 60.0, 250.0
#: Rotations tried. A fit this good is taken at once; where the best is poor, larger ones are tried.
_TURN_DEG, _WIDE_TURN_DEG, _GOOD, _POOR = 3.0, 7.0, 0.93, 0.8
#: Displacements of the restarts: rotation in degrees, translation in mm, frame of the day.
_RESTARTS = (((2.0, -1.5, 1.5), (6.0, -4.0, 5.0)), ((-1.5, 2.0, -2.0), (-5.0, 6.0, -4.0)))
#: Tiles per side of each view, for the jackknife.
_TILES = 4


@dataclass(frozen=True, eq=False)
class ProjectionMatch:
    """Where the patient lies, from radiographs.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        Planning CT → frame of the day: the patient's LPS axes as he lies on the table, machine isocentre at the origin
        (:mod:`imrt_core.geometry.radiograph`). What cannot be told from the images is as at the start.
    centre_lps : tuple of float
        Point of the planning CT that ``translation_mm`` refers to.
    freedom : str
        ``"rigid"``, ``"translation"``, ``"in-plane"`` or ``"in-plane translation"``.
    degrees_of_freedom : int
        How many numbers were matched.
    metric : float
        Mean correlation of the slopes of radiographs and DRRs.
    quality : ProjectionQuality
        Figures and verdict. A failed match has a transform too: show it, do not use it.
    seconds : float
        Wall time.
    """

    moving_from_fixed: RigidTransform
    centre_lps: tuple[float, float, float]
    freedom: str
    degrees_of_freedom: int
    metric: float
    quality: ProjectionQuality
    seconds: float

    @property
    def translation_mm(self) -> tuple[float, float, float]:
        """Translation of ``centre_lps``, LPS mm."""
        return self.moving_from_fixed.translation_mm(centre_lps=self.centre_lps)

    @property
    def rotation_deg(self) -> tuple[float, float, float]:
        """Right-handed angles about LPS x, y, z; R = Rz·Rx·Ry."""
        return self.moving_from_fixed.rotation_deg()

    @property
    def depth_is_told(self) -> bool:
        """Whether all three translations were matched; a single image tells nothing along its beam."""
        return self.freedom in ("rigid", "translation")


def register_radiographs(
    planning_hu: Volume,
    radiographs: Sequence[Radiograph],
    *,
    isocentre_lps: ArrayLike | None = None,
    translation_only: bool = False,
    energy_kev: float = ENERGY_KEV,
    limits: ProjectionLimits | None = None,
) -> ProjectionMatch:
    """Match radiographs to the planning CT.

    The planned isocentre is taken to lie near the machine isocentre. Correlation of edges over all shifts of every
    image (:mod:`registration.projection.search`) corrects the translation, for several rotations; each is refined at
    4 mm, the best at 2.5 and 1.5 mm (:mod:`registration.projection.refine`). Matches from displaced starts, from
    single views and with parts of the images left out tell how far the result can be believed.

    The result depends on the input only, not on the number of threads.

    Parameters
    ----------
    planning_hu : Volume
        Planning CT in HU.
    radiographs : sequence of Radiograph
        One or more. Several must look along directions at least 30° apart and share the patient position; table angles
        may differ. From one image only what lies in its plane is matched.
    isocentre_lps : array_like, shape (3,), optional
        Planned isocentre, planning frame: where the search starts, and what the translation is stated for. By default
        the middle of the patient in the CT, and the search is wider.
    translation_only : bool
        Match no rotation.
    energy_kev : float
        Effective energy of the radiographs.
    limits : ProjectionLimits, optional
        Limits of the verdict.

    Raises
    ------
    RegistrationError
        If an image is empty or too small, the CT shows no patient, the positions of the images contradict one another,
        or several images look along one direction.
    """
    started = time.perf_counter()
    views = [radiograph.view for radiograph in radiographs]
    freedom = freedom_of(views, translation_only=translation_only)
    basis = basis_of(freedom, views)
    patient = PlanningPatient.of(planning_hu, energy_kev=energy_kev)
    centre = _centre(isocentre_lps, patient)
    levels = {mm: ([level_image(r, mm) for r in radiographs], patient.at(mm)) for mm in (COARSE_MM, MIDDLE_MM, FINE_MM)}
    reach_mm = BLIND_REACH_MM if isocentre_lps is None else REACH_MM
    found = _search(*levels[COARSE_MM], centre, basis=basis, reach_mm=reach_mm)
    middle = refine(*levels[MIDDLE_MM], found.day_from_fixed, basis=basis, iterations=20, tolerance_mm=0.03)
    fit = refine(*levels[FINE_MM], middle.day_from_fixed, basis=basis, iterations=20, tolerance_mm=0.01)
    return ProjectionMatch(
        moving_from_fixed=fit.day_from_fixed,
        centre_lps=(float(centre[0]), float(centre[1]), float(centre[2])),
        freedom=freedom,
        degrees_of_freedom=basis.shape[1],
        metric=fit.correlation,
        quality=_quality(radiographs, levels, middle, fit, centre, basis, limits or ProjectionLimits()),
        seconds=time.perf_counter() - started,
    )


def _centre(isocentre_lps: ArrayLike | None, patient: PlanningPatient) -> Array:
    if isocentre_lps is None:
        return np.asarray(patient.attenuation_per_mm.grid.centre_lps)
    centre = np.asarray(isocentre_lps, dtype=float)
    if centre.shape != (3,) or not np.all(np.isfinite(centre)):
        raise RegistrationError("the isocentre must be three finite numbers", found=str(isocentre_lps))
    return centre


def _search(
    images: Sequence[LevelImage], attenuation_per_mm: Volume, centre: Array, *, basis: Array, reach_mm: float
) -> Fit:
    """Return the best fit at coarse resolution, from all translations in reach and a few rotations."""
    start = RigidTransform.from_parameters(translation_mm=-centre)
    start = aligned(images, attenuation_per_mm, start, basis=basis, reach_mm=reach_mm)
    fits: list[Fit] = []
    for step_deg in (_TURN_DEG, _WIDE_TURN_DEG):
        for pose in turned(start, centre, basis=basis, step_deg=step_deg):
            near = aligned(images, attenuation_per_mm, pose, basis=basis, reach_mm=min(reach_mm, 20.0), rounds=1)
            fits.append(
                refine(images, attenuation_per_mm, near, basis=basis, iterations=12, tolerance_mm=0.1, robust=False)
            )
            if fits[-1].correlation >= _GOOD:
                return fits[-1]
        best = max(fits, key=lambda fit: fit.correlation)
        if best.correlation >= _POOR:
            break
    return best


def _quality(
    radiographs: Sequence[Radiograph],
    levels: dict[float, tuple[list[LevelImage], Volume]],
    middle: Fit,
    fit: Fit,
    centre: Array,
    basis: Array,
    limits: ProjectionLimits,
) -> ProjectionQuality:
    spread_mm, spread_deg = _restart_spread(levels, middle, centre, basis)
    tiled = [view_fit(image, levels[FINE_MM][1], fit.day_from_fixed, tiles=_TILES) for image in levels[FINE_MM][0]]
    uncertainty_mm, uncertainty_deg = uncertainty(tiled, basis)
    alone = _shifts_alone(radiographs, levels[MIDDLE_MM], fit, centre, basis)
    return judge_projection(
        limits=limits,
        labels=[r.label or f"image {n + 1}" for n, r in enumerate(radiographs)],
        converged=fit.converged,
        correlations=tuple(v.correlation for v in fit.views),
        view_shifts_mm=alone,
        restart_spread_mm=spread_mm,
        restart_spread_deg=spread_deg,
        uncertainty_mm=uncertainty_mm,
        uncertainty_deg=uncertainty_deg,
        rotation_deg=float(np.rad2deg(Rotation.from_matrix(fit.day_from_fixed.rotation).magnitude())),
        view_angle_deg=widest_angle_deg([r.view for r in radiographs]) if len(radiographs) > 1 else 0.0,
        pixels=tuple(v.pixels for v in fit.views),
    )


def _shifts_alone(
    radiographs: Sequence[Radiograph], level: tuple[list[LevelImage], Volume], fit: Fit, centre: Array, basis: Array
) -> tuple[float, ...]:
    """How far ``centre`` moves, mm, where each view is matched alone, from the common match."""
    shifts = []
    for image, radiograph in zip(level[0], radiographs, strict=True):
        own = basis if len(radiographs) == 1 else basis_of("in-plane", [radiograph.view])
        # Not robust: what the common match left aside shall pull.
        found = refine([image], level[1], fit.day_from_fixed, basis=own, iterations=8, tolerance_mm=0.05, robust=False)
        move = found.day_from_fixed.apply(centre) - fit.day_from_fixed.apply(centre)
        shifts.append(float(np.linalg.norm(move)))
    return tuple(shifts)


def _restart_spread(
    levels: dict[float, tuple[list[LevelImage], Volume]], middle: Fit, centre: Array, basis: Array
) -> tuple[float, float]:
    """Largest difference in mm at ``centre``, and in degrees, of matches that start elsewhere, at middle resolution."""
    allowed = np.linalg.qr(basis)[0]
    worst = np.zeros(2)
    for turn_deg, move_mm in _RESTARTS:
        # Only along what the match can tell.
        step = allowed @ (allowed.T @ np.concatenate([np.deg2rad(turn_deg), np.asarray(move_mm) / 100.0]))
        start = RigidTransform.from_parameters(
            translation_mm=step[3:] * 100.0,
            rotation_deg=np.rad2deg(step[:3]),
            centre_lps=middle.day_from_fixed.apply(centre),
        )
        fit = refine(
            *levels[COARSE_MM],
            start @ middle.day_from_fixed,
            basis=basis,
            iterations=8,
            tolerance_mm=0.2,
            robust=False,
        )
        fit = refine(*levels[MIDDLE_MM], fit.day_from_fixed, basis=basis, iterations=12, tolerance_mm=0.05)
        moved_mm = float(np.linalg.norm(fit.day_from_fixed.apply(centre) - middle.day_from_fixed.apply(centre)))
        turn = Rotation.from_matrix(fit.day_from_fixed.rotation @ middle.day_from_fixed.rotation.T)
        worst = np.maximum(worst, [moved_mm, float(np.rad2deg(turn.magnitude()))])
    return float(worst[0]), float(worst[1])
