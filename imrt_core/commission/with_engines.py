"""Steps of the fit that run the dose engines: collimating planes from tails, focus from penumbras, one MU's meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from imrt_core.dose.collapsed_cone import direction_dose
from imrt_core.dose.pencil_beam import add_pencil_dose
from imrt_core.machine import BeamModel
from imrt_core.machine.photon_source import ExtraFocalSource
from imrt_core.machine.scans import Scan

from .measured import AbsolutePoint
from .profiles import CELL_MM, profile_pairs, rectangle, water_tank

#: Blur by the focus that is searched, mm.
FOCUS_RANGE_MM = (0.5, 3.5)
#: Lower collimating planes that are searched, mm from the target.
PLANE_RANGE_MM = (400.0, 700.0)


def planes_from_tails(model: BeamModel, scans: Sequence[Scan]) -> tuple[float, float]:
    """Return the lower collimating planes of extra-focal sources, for X and Y, that explain the tails of profiles.

    The nearer the lower plane is to the head, the further beside the field the head is seen. Least sum of squares of
    differences in percent of the axis; a plane that no profile crosses follows the other one.
    """
    planes = list(ExtraFocalSource().collimator_lower_xy_mm)
    if model.source is None or not model.source.extra_focal:
        return planes[0], planes[1]
    found: dict[int, float] = {}
    for axis, kind in enumerate(("crossline", "inline")):
        along = [s for s in scans if s.kind == kind]
        if not along:
            continue

        def misfit(plane: float, axis: int = axis, along: Sequence[Scan] = along) -> float:
            tried = with_planes(model, (plane, planes[1]) if axis == 0 else (planes[0], plane))
            pairs = profile_pairs(along, tried, cell_mm=CELL_MM)
            return float(sum(np.sum(p.difference_percent[p.tails] ** 2) for p in pairs))

        search = minimize_scalar(misfit, bounds=PLANE_RANGE_MM, method="bounded", options={"xatol": 8.0})
        found[axis] = planes[axis] = round(float(search.x), -1)
    if len(found) == 1:
        planes = [*found.values()] * 2
    return planes[0], planes[1]


def with_planes(model: BeamModel, planes_mm: tuple[float, float]) -> BeamModel:
    """Return the model with other lower collimating planes of its extra-focal sources."""
    assert model.source is not None
    heads = tuple(replace(h, collimator_lower_xy_mm=planes_mm) for h in model.source.extra_focal)
    return replace(model, source=replace(model.source, extra_focal=heads))


def focus_from_penumbra(model: BeamModel, scans: Sequence[Scan]) -> BeamModel:
    """Return the model with the blur along X and Y that leaves no mean difference of penumbras."""
    blur = list(model.blur_mm)
    for axis, kind in enumerate(("crossline", "inline")):
        along = [s for s in scans if s.kind == kind]
        if not along:
            continue

        def mean_difference(sigma: float, axis: int = axis, along: Sequence[Scan] = along) -> float:
            tried = (sigma, blur[1]) if axis == 0 else (blur[0], sigma)
            pairs = profile_pairs(along, replace(model, source_sigma_xy_mm=tried))
            return float(np.mean([p.penumbra_difference_mm for p in pairs]))

        # Penumbras grow with the focus: one root, or the end of the range that comes nearest to it.
        low, high = FOCUS_RANGE_MM
        if mean_difference(low) >= 0:
            blur[axis] = low
        elif mean_difference(high) <= 0:
            blur[axis] = high
        else:
            blur[axis] = round(float(brentq(mean_difference, low, high, xtol=0.02)), 2)
    return replace(
        model, source_sigma_xy_mm=(blur[0], blur[1]), source_sigma_mm=round(float(np.sqrt(blur[0] * blur[1])), 2)
    )


def calibrated(model: BeamModel, absolute: AbsolutePoint) -> BeamModel:
    """Scale fluence per MU and pencil amplitudes, so that each engine gives the absolute dose exactly."""
    assert model.source is not None
    water, beam = water_tank(absolute.ssd_mm, model.sad_mm)
    depth = np.arange(5.0, 50.0, 0.5) if absolute.depth_mm is None else np.array([absolute.depth_mm])
    points = np.zeros((len(depth), 3))
    points[:, 1] = depth + absolute.ssd_mm - model.sad_mm
    opening = rectangle(beam, model, *absolute.field_mm)
    by_cones = float(direction_dose(model, water, opening, points, cell_mm=CELL_MM).gy.max())
    pencil = np.zeros(len(depth), dtype=np.float32)
    add_pencil_dose(model, water, opening, points, pencil)
    more, larger = absolute.gy_per_mu / by_cones, absolute.gy_per_mu / float(pencil.max())
    electrons = model.source.contamination
    source = replace(
        model.source,
        photons_per_cm2_per_mu=float(f"{model.source.photons_per_cm2_per_mu * more:.6g}"),
        contamination=replace(electrons, surface_gy_per_mu=float(f"{electrons.surface_gy_per_mu * more:.6g}")),
    )
    amplitude = tuple(tuple(float(f"{a * larger:.6g}") for a in row) for row in model.amplitude_gy_per_mu)
    return replace(model, source=source, amplitude_gy_per_mu=amplitude)
