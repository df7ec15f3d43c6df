"""Extra-focal fluence against rays traced from the source through both collimating planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from imrt_core.dose.collapsed_cone.head import HeadFluence, head_fluence
from imrt_core.dose.fluence import FluenceMap
from imrt_core.geometry import BeamGeometry
from imrt_core.machine import load_machine
from imrt_core.machine.photon_source import ExtraFocalSource

MODEL = replace(load_machine("generic_6mv").model, jaw_transmission=0.0)
SAD_MM = 1000.0


def _seen(head: ExtraFocalSource, x_mm: float, edges_mm: tuple[float, float], axis: int) -> float:
    """Share of a Gaussian line source whose rays to a point pass both planes; edges are on the isocentre plane."""
    source = np.linspace(-6 * head.sigma_mm, 6 * head.sigma_mm, 20001)
    open_ = np.ones(len(source), dtype=bool)
    for plane in (head.collimator_mm, head.collimator_lower_xy_mm[axis]):
        way = (plane - head.distance_mm) / (SAD_MM - head.distance_mm)
        at_plane = source + (x_mm - source) * way
        open_ &= (at_plane > edges_mm[0] * plane / SAD_MM) & (at_plane < edges_mm[1] * plane / SAD_MM)
    density = norm.pdf(source, scale=head.sigma_mm)
    return float(density[open_].sum() / density.sum())


@pytest.mark.parametrize("axis", [0, 1])
def test_beside_one_edge_the_nearer_plane_counts(axis: int) -> None:
    """A field so wide that only one edge hides anything: the fluence is that of rays traced one by one."""
    head = ExtraFocalSource(0.1, 20.0, collimator_lower_xy_mm=(480.0, 600.0))
    edges = np.arange(-400.0, 402.0, 2.0)
    opening = np.zeros((400, 400))
    opening[(slice(None), slice(200, None)) if axis == 0 else (slice(200, None), slice(None))] = 1.0
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS", sad_mm=SAD_MM)

    def photons(share: float) -> HeadFluence:
        source = replace(MODEL.source, photons_per_cm2_per_mu=1.0, extra_focal=(replace(head, share=share),))
        return head_fluence(FluenceMap(beam, opening, edges, edges, 1.0), MODEL, source)

    little, more = photons(0.1), photons(0.2)
    part = (9 * more.photons - 8 * little.photons) * head.reference(SAD_MM)  # the focal part drops out
    u, v = ((e[1:] + e[:-1]) / 2 for e in (more.edges_u_mm, more.edges_v_mm))
    line = part[np.searchsorted(v, 100.0)] if axis == 0 else part[:, np.searchsorted(u, 100.0)]
    place = u if axis == 0 else v
    for x_mm in (-60.0, -30.0, -10.0, 0.0, 10.0, 30.0, 60.0):
        expected = _seen(head, x_mm, (0.0, 400.0), axis)
        assert np.interp(x_mm, place, line) == pytest.approx(expected, abs=0.004)


def test_wider_than_the_source_seen_from_the_axis_is_one() -> None:
    head = ExtraFocalSource(0.1, 20.0)
    assert head.reference(SAD_MM) == pytest.approx(_seen(head, 0.0, (-50.0, 50.0), 0) ** 2, abs=1e-3)
