"""Every kernel against its naive twin, or against scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, RigidTransform, Volume
from registration._field_kernels import compose, invert, jacobian_determinant
from registration._filter_kernels import TRUNCATE, distance_within, gaussian, spline_coefficients
from registration._pull_kernels import pull
from registration.deformable._kernels import accumulate, compress, negative_laplacian, symmetric_product
from registration.deformable.lattice import _spline_matrix, resample_vectors, solve_step
from registration.preprocess import filled_planes
from registration.rigid._kernels import look_up, normal_equations, subtract_model

from .. import naive_registration as naive

Array = NDArray[Any]
RNG = np.random.default_rng(7)
TURN = RigidTransform.from_parameters(translation_mm=(2, -1, 3), rotation_deg=(8, -5, 12), centre_lps=(5, 5, 5))
TURNED: Any = tuple(map(tuple, TURN.rotation))


def _look_up(array: Array, index: Array, seen: Array | None = None) -> tuple[Array, ...]:
    coefficients = ndimage.spline_filter(array, order=3, mode="mirror")
    return look_up(coefficients, np.ones(array.shape) if seen is None else seen, index, np.eye(4), np.eye(4), np.eye(3))


def test_cubic_spline_values_are_scipys() -> None:
    array = RNG.normal(size=(7, 9, 8)).astype(np.float32)
    index = RNG.uniform(0, 1, size=(200, 3)) * [7, 8, 6]
    values, gradients, arms, visible = _look_up(array, index)
    npt.assert_allclose(values, ndimage.map_coordinates(array, index[:, ::-1].T, order=3, mode="mirror"), atol=2e-5)
    npt.assert_array_equal(arms, index)
    assert visible.all()
    step = 1e-3
    inner = (index > 0.01).all(axis=1) & (index < np.array([7, 8, 6]) - 0.01).all(axis=1)
    for axis in range(3):
        plus, minus = index.copy(), index.copy()
        plus[:, axis] += step
        minus[:, axis] -= step
        slope = (_look_up(array, plus)[0] - _look_up(array, minus)[0]) / (2 * step)
        npt.assert_allclose(gradients[inner, axis], slope[inner], atol=1e-4)


def test_cubic_spline_reaches_the_last_voxel_and_not_beyond() -> None:
    array = RNG.normal(size=(4, 5, 6)).astype(np.float32)
    corners = np.array([[0, 0, 0], [5, 4, 3], [5, 0, 3.0]])
    npt.assert_allclose(_look_up(array, corners)[0], array[[0, 3, 3], [0, 4, 0], [0, 5, 5]], atol=1e-5)
    values, _, _, visible = _look_up(array, np.array([[5.01, 0, 0], [0, -0.01, 0], [0, 0, 3.2], [2, 2, 2]]))
    npt.assert_array_equal(visible, [0, 0, 0, 1])
    npt.assert_array_equal(values[:3], 0)
    hidden = np.ones(array.shape)
    hidden[2, 2, 2] = 0
    npt.assert_array_equal(_look_up(array, np.array([[2.4, 1.6, 2.0], [2.6, 2, 2]]), hidden)[3], [0, 1])


def test_points_are_mapped_and_gradients_turned() -> None:
    grid = Grid((8, 9, 10), (2.0, 1.5, 3.0), (1.0, -2.0, 0.5), direction=TURNED)
    # A linear image: its gradient in space is known, whatever the axes (away from the mirrored borders).
    array = (grid.voxel_centres_lps() @ [3.0, -2.0, 1.0]).astype(np.float32)
    coefficients = ndimage.spline_filter(array, order=3, mode="mirror")
    goal = grid.to_lps(RNG.uniform(3.5, 4.5, size=(50, 3)))
    points = TURN.inverse().apply(goal)
    arm = TURN.matrix.copy()
    arm[:3, 3] -= [5, 6, 7]
    values, gradients, arms, _ = look_up(
        coefficients, np.ones(grid.shape), points, grid.index_from_lps @ TURN.matrix, arm, grid.index_from_lps[:3, :3].T
    )
    npt.assert_allclose(values, goal @ [3.0, -2.0, 1.0], atol=0.1)
    npt.assert_allclose(gradients, np.tile([3.0, -2.0, 1.0], (50, 1)), atol=0.1)
    npt.assert_allclose(arms, goal - [5, 6, 7], atol=1e-9)


def test_subtract_model() -> None:
    values, fixed, arms, intensity = (
        RNG.normal(size=99),
        RNG.normal(size=99),
        RNG.normal(size=(99, 3)),
        RNG.normal(size=11),
    )
    npt.assert_allclose(
        subtract_model(values, fixed, arms, intensity), naive.subtract_model(values, fixed, arms, intensity), atol=1e-12
    )


def test_normal_equations() -> None:
    n = 333
    parts = (
        RNG.normal(size=n),
        RNG.normal(size=(n, 3)),
        RNG.normal(size=(n, 3)),
        RNG.uniform(size=n),
        RNG.normal(size=n),
    )
    parts[3][::5] = 0
    matrix, vector = normal_equations(*parts)
    expected_matrix, expected_vector = naive.normal_equations(*parts)
    npt.assert_allclose(matrix, expected_matrix, rtol=1e-10, atol=1e-10)
    npt.assert_allclose(vector, expected_vector, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("displaced", [False, True])
def test_pull(displaced: bool) -> None:
    source = Grid((6, 7, 8), (2.0, 1.5, 3.0), (1.0, -2.0, 0.5))
    like = Grid((5, 6, 7), (2.5, 2.0, 2.0), (-1.0, -3.0, -1.0), direction=TURNED)
    array = RNG.normal(size=source.shape).astype(np.float32)
    vectors = RNG.normal(size=(*like.shape, 3)).astype(np.float32) if displaced else None
    found = pull(
        array, source.index_from_lps, like.lps_from_index, like.shape, vectors_mm=vectors, nearest=False, outside=-7
    )
    expected = naive.pull(array, source.index_from_lps, like.lps_from_index, like.shape, vectors, -7.0)
    npt.assert_allclose(found, expected, atol=1e-5)
    assert (found == -7).any()
    points = like.voxel_centres_lps() + (0 if vectors is None else vectors)
    npt.assert_allclose(found, Volume(array, source).sample(points, outside=-7), atol=1e-5)


@pytest.mark.parametrize("outside", [-7.0, None])
@pytest.mark.parametrize("shape", [(6, 7, 8), (1, 5, 2), (4, 1, 1)])
def test_pull_between_grids_with_the_same_axes(outside: float | None, shape: tuple[int, int, int]) -> None:
    source = Grid(shape, (2.0, 1.5, 3.0), (1.0, -2.0, 0.5), direction=TURNED)
    like = Grid((9, 11, 12), (1.7, 1.1, 2.3), (-1.0, -3.0, -1.0), direction=TURNED)
    array = RNG.normal(size=source.shape).astype(np.float32)
    geometry = source.index_from_lps, like.lps_from_index, like.shape
    found = pull(array, *geometry, vectors_mm=None, nearest=False, outside=outside)
    if outside is None:
        index = np.clip(source.to_index(like.voxel_centres_lps()), 0, np.array(source.shape[::-1]) - 1)
        expected = Volume(array, source).sample(source.to_lps(index))
    else:
        expected = naive.pull(array, *geometry, None, outside)
        assert (found == outside).any()
    npt.assert_allclose(found, expected, atol=1e-5)


def test_a_held_edge_is_held_for_any_axes() -> None:
    source, like = Grid((6, 7, 8), (2.0, 1.5, 3.0)), Grid((5, 6, 7), (4, 4, 4), (-5, -5, -5), direction=TURNED)
    array = RNG.normal(size=source.shape).astype(np.float32)
    found = pull(
        array, source.index_from_lps, like.lps_from_index, like.shape, vectors_mm=None, nearest=False, outside=None
    )
    index = np.clip(source.to_index(like.voxel_centres_lps()), 0, np.array(source.shape[::-1]) - 1)
    npt.assert_allclose(found, Volume(array, source).sample(source.to_lps(index)), atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 14, 17), (1, 9, 2), (5, 1, 1), (2, 3, 40)])
@pytest.mark.parametrize("sigma", [(0.6, 1.2, 1.0), (0.0, 3.0, 0.3)])
def test_smoothing_is_that_of_scipy(shape: tuple[int, int, int], sigma: tuple[float, float, float]) -> None:
    array = RNG.normal(scale=500.0, size=shape).astype(np.float32)
    expected = ndimage.gaussian_filter(array.astype(float), sigma, mode="nearest", truncate=TRUNCATE)
    npt.assert_allclose(gaussian(array, sigma), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(12, 14, 17), (1, 9, 2), (5, 1, 1), (2, 3, 40)])
def test_spline_coefficients_are_those_of_scipy(shape: tuple[int, int, int]) -> None:
    array = RNG.normal(scale=500.0, size=shape).astype(np.float32)
    expected = ndimage.spline_filter(array.astype(float), order=3, mode="mirror")
    npt.assert_allclose(spline_coefficients(array), expected, atol=1e-2, rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(1.0, 4.0), st.floats(2.0, 14.0))
def test_distances_are_those_of_scipy_up_to_the_reach(seed: int, step: float, reach: float) -> None:
    mask = np.random.default_rng(seed).random((7, 9, 8)) < 0.03
    spacing = (step, 1.5, 2.5)
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing) if mask.any() else np.full(mask.shape, np.inf)
    npt.assert_allclose(distance_within(mask, spacing, reach), np.minimum(expected, reach), rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.8))
def test_planes_are_filled_as_scipy_fills_them(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((3, 9, 11)) < share
    npt.assert_array_equal(filled_planes(mask), np.stack([ndimage.binary_fill_holes(plane) for plane in mask]))


def test_compression_has_its_slopes() -> None:
    hu = np.linspace(-1200, 3000, 4 * 5 * 60, dtype=np.float32).reshape(4, 5, 60)
    found = compress(hu, soft_hu=300.0, low_share=0.6, high_share=0.25, range_hu=(-1000.0, 1500.0))
    expected = np.interp(hu, [-1000, -300, 300, 1500], [-720, -300, 300, 600])
    npt.assert_allclose(found, expected, atol=1e-3)


def test_pull_nearest_keeps_labels_and_dtype() -> None:
    source, like = Grid((4, 4, 4), (2, 2, 2)), Grid((8, 8, 8), (1, 1, 1), (-0.5, -0.5, -0.5))
    labels = RNG.integers(0, 200, size=source.shape).astype(np.uint8)
    found = pull(
        labels, source.index_from_lps, like.lps_from_index, like.shape, vectors_mm=None, nearest=True, outside=0
    )
    assert found.dtype == np.uint8
    npt.assert_array_equal(found, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_compose() -> None:
    grid, out = Grid((4, 5, 6), (3, 3, 3), (2, 2, 2)), Grid((6, 5, 4), (4, 4, 4), (-2, 0, 0))
    vectors = RNG.normal(size=(*grid.shape, 3)).astype(np.float32)
    found = compose(vectors, grid.index_from_lps, TURN.matrix, out.lps_from_index, out.shape)
    expected = naive.compose(vectors, grid.index_from_lps, TURN.matrix, out.lps_from_index, out.shape)
    npt.assert_allclose(found, expected, atol=2e-5)


def test_invert_undoes_a_smooth_field() -> None:
    grid = Grid((20, 20, 20), (2, 2, 2))
    vectors = np.stack([ndimage.gaussian_filter(RNG.normal(size=grid.shape), 3) for _ in range(3)], axis=-1)
    vectors = (4 * vectors / np.abs(vectors).max()).astype(np.float32)
    out = Grid((15, 15, 15), (2.2, 2.2, 2.2), (3, 3, 3))
    back, error = invert(vectors, grid.index_from_lps, TURN.matrix, out.lps_from_index, out.shape)
    assert error.max() < 0.005
    q = TURN.apply(out.voxel_centres_lps())
    p = out.voxel_centres_lps() + back
    # Beyond the grid, where the edge value holds, this sampling has none.
    inside = grid.contains(p)
    assert inside.mean() > 0.5
    u = np.stack([Volume(vectors[..., c], grid).sample(p) for c in range(3)], axis=-1)
    npt.assert_allclose((p + u)[inside], q[inside], atol=0.01)


def test_lattice_operators() -> None:
    x = RNG.normal(size=(4, 5, 3, 3))
    npt.assert_allclose(
        negative_laplacian(x, (2.0, 3.0, 1.5)), naive.negative_laplacian(x, (2.0, 3.0, 1.5)), atol=1e-12
    )
    six = RNG.normal(size=(4, 5, 3, 6))
    full = six[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(4, 5, 3, 3, 3)
    npt.assert_allclose(symmetric_product(six, x), np.einsum("...ij,...j->...i", full, x), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (2, 1, 3)])
def test_jacobian_determinant(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(8)
    turn = RigidTransform.from_parameters(rotation_deg=(10, -20, 30))
    grid = Grid(shape, (1.5, 2.0, 3.0)).transformed(turn)
    vectors = rng.normal(0, 1, (*shape, 3)).astype(np.float32)
    found = jacobian_determinant(vectors, grid.index_from_lps)
    npt.assert_allclose(found, naive.jacobian_determinant(vectors, grid.index_from_lps), rtol=1e-4, atol=1e-4)


def test_spline_matrix_is_scipys() -> None:
    samples, at = RNG.normal(size=9), np.linspace(0, 8, 40)
    npt.assert_allclose(
        _spline_matrix(9, at) @ samples, ndimage.map_coordinates(samples, [at], order=3, mode="mirror"), atol=1e-12
    )
    npt.assert_allclose(_spline_matrix(2, np.array([-3.0, 0.5, 9.0])) @ [1.0, 3.0], [1, 2, 3])
    old, new = Grid((4, 5, 6), (8, 8, 9), (3, 3, 4)), Grid((9, 12, 14), (3, 3, 3))
    lattice = RNG.normal(size=(*old.shape, 3))
    index = np.clip(old.to_index(new.voxel_centres_lps()), 0, [5, 4, 3])[..., ::-1]
    for c in range(3):
        expected = ndimage.map_coordinates(lattice[..., c], np.moveaxis(index, -1, 0), order=3, mode="mirror")
        npt.assert_allclose(resample_vectors(lattice, old, new)[..., c], expected, atol=1e-12)


def test_accumulate() -> None:
    fixed_grid, moving_grid = Grid((6, 7, 8), (2, 2, 3)), Grid((9, 9, 9), (2, 2.5, 2), (-3, -3, -2))
    fixed, moving = RNG.normal(size=fixed_grid.shape) * 50, RNG.normal(size=moving_grid.shape) * 50
    gradient = RNG.normal(size=(*fixed_grid.shape, 3))
    weight = RNG.uniform(size=fixed_grid.shape) * (RNG.uniform(size=fixed_grid.shape) > 0.2)
    seen = RNG.uniform(size=moving_grid.shape) > 0.1
    factors = (2, 3, 3)
    lattice = RNG.normal(size=(3, 3, 3, 3))
    index = moving_grid.index_from_lps @ TURN.matrix
    single = [a.astype(np.float32) for a in (fixed, gradient, weight, moving)]
    found = accumulate(
        *single,
        seen,
        index,
        fixed_grid.lps_from_index,
        lattice.astype(np.float32),
        factors,
        cut_hu=60.0,  # type: ignore[misc]
    )
    expected = naive.accumulate(
        *(a.astype(float) for a in single),
        seen,
        index,
        fixed_grid.lps_from_index,
        lattice.astype(np.float32).astype(float),
        factors,
        60.0,
    )
    npt.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-3 * np.abs(expected[0]).max())
    npt.assert_allclose(found[1], expected[1], rtol=1e-3, atol=1e-3 * np.abs(expected[1]).max())


def test_solve_step_is_the_dense_solution() -> None:
    shape, spacing = (3, 4, 3), (6.0, 5.0, 5.0)
    n = int(np.prod(shape)) * 3
    roots = RNG.normal(size=(*shape, 3, 3))
    blocks = roots @ np.swapaxes(roots, -1, -2)
    six = np.stack([blocks[..., a, b] for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], axis=-1)
    vector, u = RNG.normal(size=(*shape, 3)), RNG.normal(size=(*shape, 3))
    prior = RNG.uniform(size=shape)
    step = solve_step(six, vector, prior, u, bending_mm2=30.0, spacing_zyx_mm=spacing, iterations=500, tolerance=1e-16)

    def dense(apply: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.stack([np.ravel(apply(e.reshape(*shape, 3))) for e in np.eye(n)], axis=1)  # type: ignore[operator]

    bend = dense(lambda x: 30.0 * naive.negative_laplacian(naive.negative_laplacian(x, spacing), spacing))
    data = dense(lambda x: np.einsum("...ij,...j->...i", blocks, x) + prior[..., None] * x)
    right = vector - prior[..., None] * u - (bend @ u.ravel()).reshape(u.shape)
    npt.assert_allclose(step.ravel(), np.linalg.solve(data + bend, right.ravel()), atol=1e-6)
