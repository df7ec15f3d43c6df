"""Maps of convolved fluence against a naive sum over cells, and their transpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imrt_core.dose._map_kernels import add_map
from imrt_core.dose.beam_state import BeamState
from imrt_core.dose.gaussian_maps import GaussianMaps, gaussian_maps
from imrt_core.dose.map_groups import SeenVoxels, map_groups
from imrt_core.machine import load_machine
from tests import naive_dose

MODEL = load_machine("generic_6mv").model
EDGES_U, EDGES_V = np.arange(-20.0, 26.0, 5.0), np.arange(-10.0, 16.0, 5.0)


def state(count: int, seed: int) -> BeamState:
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-60, 60, (2, count)).astype(np.float32)
    log_scale = rng.uniform(-0.2, 1.0, count)
    ones = np.ones(count, dtype=np.float32)
    near, far = np.exp(log_scale).astype(np.float32), np.exp(log_scale / 2).astype(np.float32)
    return BeamState(u, v, ones, 50 * ones, near, far)


def prepared(components: tuple[int, ...], voxels: BeamState) -> GaussianMaps:
    return gaussian_maps(MODEL, components, edges_u_mm=EDGES_U, edges_v_mm=EDGES_V, state=voxels)


@pytest.mark.parametrize("component", [0, 1, 2, 3])
def test_against_the_naive_twin(component: int) -> None:
    """Within 0.6 % of the open field, 0.1 % on average, for every width and anywhere on or beside the field."""
    voxels = state(300, component)
    weights = np.random.default_rng(9).random((5, 9)).astype(np.float32)
    maps = prepared((component,), voxels)
    dose = np.zeros(300, dtype=np.float32)
    log_scale = voxels.log_scale(MODEL, component)
    two = np.full((300, 1), 2.0, dtype=np.float32)
    add_map(maps.spread(weights), maps.levels, maps.scale, voxels.u_mm, voxels.v_mm, log_scale, two, dose)
    sigma = MODEL.widths_mm(np.exp(log_scale))[:, component]
    expected = naive_dose.gaussian_map_dose(sigma, EDGES_U, EDGES_V, weights, voxels.u_mm, voxels.v_mm)
    difference = np.abs(dose / 2 - expected)
    assert difference.max() < 0.006
    assert difference.mean() < 0.001


def naive_interpolation(maps: GaussianMaps, nodes: np.ndarray, seen: SeenVoxels) -> np.ndarray:
    """Naive twin of both ways to read maps: one voxel, level and component at a time, in double precision."""
    found = np.zeros(len(seen.u_mm))
    last = len(maps.levels) - 1
    for n, (u, v, log_scale) in enumerate(zip(seen.u_mm, seen.v_mm, seen.log_scale, strict=True)):
        z = min(max((float(log_scale) - maps.scale[0]) / maps.scale[1], 0.0), float(last))
        k = min(int(z), last - 1)
        for level, part in ((k, 1 - (z - k)), (k + 1, z - k)):
            u0, v0, per_mm, rows, columns, begin = maps.levels[level]
            x, y = (float(u) - u0) * per_mm, (float(v) - v0) * per_mm
            if not (0 <= x < columns - 1 and 0 <= y < rows - 1):
                continue
            i, j = int(x), int(y)
            on_level = nodes[int(begin) : int(begin + rows * columns)].reshape(int(rows), int(columns), -1)
            upper = on_level[j, i] * (1 - (x - i)) + on_level[j, i + 1] * (x - i)
            lower = on_level[j + 1, i] * (1 - (x - i)) + on_level[j + 1, i + 1] * (x - i)
            found[n] += part * float(seen.amplitude[n] @ (upper * (1 - (y - j)) + lower * (y - j)))
    return found


def seen_by(voxels: BeamState, components: tuple[int, ...], rng: np.random.Generator) -> SeenVoxels:
    amplitude = rng.random((len(voxels.u_mm), len(components))).astype(np.float32)
    return SeenVoxels(voxels.u_mm, voxels.v_mm, voxels.log_scale(MODEL, components[0]), amplitude)


@pytest.mark.parametrize("components", [(1,), (2, 3), (1, 2, 3)])
def test_groups_read_maps_as_the_naive_twin_does(components: tuple[int, ...]) -> None:
    """Voxels sorted into groups and voxels one by one: both as the twin, for one to three components."""
    voxels = state(400, 5)
    rng = np.random.default_rng(8)
    maps = prepared(components, voxels)
    seen = seen_by(replace(voxels, u_mm=np.float32(1.2) * voxels.u_mm), components, rng)
    nodes = rng.random(maps.shape).astype(np.float32)
    expected = naive_interpolation(maps, nodes, seen)
    assert np.count_nonzero(expected) < 400  # some voxels are on no map
    grouped, single = np.zeros(400, dtype=np.float32), np.zeros(400, dtype=np.float32)
    map_groups(maps, seen).add_dose(nodes, grouped)
    add_map(nodes, maps.levels, maps.scale, seen.u_mm, seen.v_mm, seen.log_scale, seen.amplitude, single)
    # Neighbouring nodes differ by up to 1, and fractions are rounded at 1e-5 of a node: far more than real maps need.
    np.testing.assert_allclose(single, expected, atol=3e-5)
    np.testing.assert_allclose(grouped, expected, atol=3e-5)


def test_gather_is_the_transpose_of_spread_and_add() -> None:
    voxels = state(2000, 4)
    rng = np.random.default_rng(7)
    weights, values = rng.random((5, 9)).astype(np.float32), rng.normal(size=2000).astype(np.float32)
    for components in ((1,), (2, 3)):
        maps = prepared(components, voxels)
        groups = map_groups(maps, seen_by(voxels, components, rng))
        dose = np.zeros(2000, dtype=np.float32)
        groups.add_dose(maps.spread(weights), dose)
        forward = float(dose.astype(float) @ values)
        backward = float(np.sum(maps.gather(groups.gather(values, maps.shape)) * weights))
        assert forward == pytest.approx(backward, abs=2e-6 * float(np.abs(dose) @ np.abs(values)))
