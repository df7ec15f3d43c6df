"""The optimiser against exact solutions, a reference solver, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import nnls

from imrt_core.optimize import FluenceProgress, FluenceResult, equal_weights, optimize_fluence
from imrt_core.optimize.constraints import DoseLimit, LimitKind
from imrt_core.optimize.objectives import MeanDose, SquaredDeviation, SquaredOverdose, SquaredUnderdose
from imrt_core.optimize.smoothness import FluenceSmoothness
from imrt_core.optimize.voxels import VoxelSet
from imrt_core.patient import GeometryError, ProtocolError, StructureError
from tests.naive_optimize import finite_difference_gradient, toy_matrix


@pytest.fixture(scope="module")
def c_shape() -> tuple[sparse.csr_array, dict[str, np.ndarray]]:
    """A core of 10 mm radius in a C-shaped target of 15–37 mm, as in TG-119."""
    matrix, points = toy_matrix()
    radius = np.hypot(points[:, 0], points[:, 1])
    # the C opens posteriorly (+y), as the TG-119 phantom does
    angle = np.degrees(np.arctan2(points[:, 0], points[:, 1]))
    target = (radius > 15) & (radius < 37) & (np.abs(angle) > 40)
    core = radius < 10
    return matrix, {"Target": target, "Core": core, "Body": ~(target | core)}


def _solve(
    c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]], limits: tuple[DoseLimit, ...] = (), **options: object
) -> FluenceResult:
    matrix, structures = c_shape
    objectives = (
        SquaredUnderdose(structure="Target", dose_gy=50.0, weight=100.0),
        SquaredOverdose(structure="Target", dose_gy=53.0, weight=50.0),
        SquaredOverdose(structure="Core", dose_gy=20.0, weight=10.0),
        SquaredOverdose(structure="Body", dose_gy=30.0, weight=10.0),
    )
    return optimize_fluence(
        matrix,
        objectives,
        structures=structures,
        limits=limits,
        course_gy_per_matrix_gy=25.0,
        **options,  # type: ignore[arg-type]
    )


def test_least_squares_agrees_with_nnls() -> None:
    rng = np.random.default_rng(0)
    A = rng.uniform(0.0, 1.0, (60, 12)) * (rng.uniform(size=(60, 12)) < 0.5)
    target = A @ np.maximum(rng.normal(0.5, 1.0, 12), 0.0) + rng.normal(0.0, 0.3, 60)
    # the least-squares solution without bounds has negative components: the bounds bind
    assert np.linalg.lstsq(A, target)[0].min() < 0
    sets = {f"v{i}": [i] for i in range(60)}
    offset = -target + 50.0
    result = optimize_fluence(
        A,
        [SquaredDeviation(structure="all", dose_gy=50.0)],
        structures={"all": np.arange(60), **sets},
        offset_gy=offset,
        tolerance=1e-14,
        max_iterations=2000,
    )
    reference, _ = nnls(A, target)
    np.testing.assert_allclose(result.weights, reference, atol=1e-4 * reference.max())
    assert result.objective == pytest.approx(float(np.mean((A @ reference - target) ** 2)), rel=1e-6)
    assert result.kkt_residual < 1e-5


def test_c_shape_reaches_the_trade_off(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    result = _solve(c_shape)
    dose, structures = result.course_dose_gy, c_shape[1]
    assert np.percentile(dose[structures["Target"]], 5) > 47.5
    assert np.percentile(dose[structures["Target"]], 90) < 55.0
    assert np.percentile(dose[structures["Core"]], 90) < 27.0
    assert result.history[-1] < 0.02 * result.history[0]
    assert np.all(result.weights >= 0)


def test_dose_is_scaled_to_the_course(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    matrix, _ = c_shape
    result = _solve(c_shape, offset_gy=1.5)
    np.testing.assert_allclose(result.course_dose_gy, 25.0 * (matrix @ result.weights) + 1.5, rtol=1e-9)


def test_the_same_inputs_give_the_same_plan(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    first, second = _solve(c_shape), _solve(c_shape)
    assert np.array_equal(first.weights, second.weights)
    assert first.history == second.history


def test_hard_maximum_and_mean_hold(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    free = _solve(c_shape)
    core, body = c_shape[1]["Core"], c_shape[1]["Body"]
    assert free.course_dose_gy[core].max() > 19.0
    limits = (
        DoseLimit(structure="Core", kind=LimitKind.MAX, dose_gy=18.0),
        DoseLimit(structure="Body", kind=LimitKind.MEAN, dose_gy=0.9 * float(free.course_dose_gy[body].mean())),
    )
    held = _solve(c_shape, limits, max_iterations=1000)
    assert held.feasible
    assert held.course_dose_gy[core].max() <= 18.05
    assert held.course_dose_gy[body].mean() <= limits[1].dose_gy + 0.05
    assert held.objective > free.objective
    assert held.outer_iterations > 1


def test_hard_dvh_point_exempts_the_hottest_part(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    core = c_shape[1]["Core"]
    limit = DoseLimit(structure="Core", kind=LimitKind.MAX, dose_gy=12.0, exempt_percent=25.0)
    held = _solve(c_shape, (limit,), max_iterations=1000)
    dose = np.sort(held.course_dose_gy[core])
    assert held.feasible
    assert dose[int(np.floor(0.75 * dose.size - 1))] <= 12.05
    assert dose[-1] > 12.1


def test_conflicting_limits_are_reported(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    limits = (
        DoseLimit(structure="Target", kind=LimitKind.MIN, dose_gy=50.0),
        DoseLimit(structure="Body", kind=LimitKind.MAX, dose_gy=5.0),
    )
    result = _solve(c_shape, limits, max_iterations=300)
    assert not result.feasible
    assert max(violation for _, violation in result.violations) > 1.0


def test_smoothness_gradient_and_effect(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    pairs = np.array([(i, i + 1) for i in range(0, 162) if (i + 1) % 18])
    term = FluenceSmoothness(pairs, weight=2.0)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0, 5, 162)
    _, gradient = term.value_and_gradient(weights, reference=2.0)
    numeric = finite_difference_gradient(lambda w: term.value_and_gradient(w, reference=2.0)[0], weights)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)
    rough, smooth = _solve(c_shape), _solve(c_shape, smoothness=FluenceSmoothness(pairs, weight=30.0))

    def variation(result: FluenceResult) -> float:
        return float(np.abs(result.weights[pairs[:, 0]] - result.weights[pairs[:, 1]]).sum() / result.weights.sum())

    assert variation(smooth) < 0.8 * variation(rough)


def test_warm_start_converges_sooner(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    cold = _solve(c_shape, tolerance=1e-4)
    warm = _solve(c_shape, tolerance=1e-4, initial_weights=cold.weights * 1.02)
    assert warm.iterations < 0.7 * cold.iterations
    assert warm.objective <= cold.objective * 1.01


def test_upper_bounds_hold(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    free = _solve(c_shape)
    bound = 0.6 * float(free.weights.max())
    bounded = _solve(c_shape, maximum_weights=bound)
    assert bounded.weights.max() == pytest.approx(bound)
    assert bounded.weights.max() <= bound
    assert bounded.objective >= free.objective
    assert bounded.kkt_residual < 0.1


def test_equal_weights_are_the_best_of_their_kind(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    matrix, structures = c_shape
    objective = SquaredDeviation(structure="Target", dose_gy=50.0)
    weights = equal_weights(matrix, [objective], structures=structures, course_gy_per_matrix_gy=25.0)
    unit = 25.0 * (matrix @ np.ones(matrix.shape[1]))[structures["Target"]]
    np.testing.assert_allclose(weights, 50.0 * unit.sum() / (unit @ unit), rtol=1e-3)


def test_progress_sees_every_iteration(c_shape: tuple[sparse.csr_array, dict[str, np.ndarray]]) -> None:
    seen: list[FluenceProgress] = []
    result = _solve(c_shape, progress=seen.append)
    assert [p.iteration for p in seen] == list(range(1, result.iterations + 1))
    assert [p.objective for p in seen] == list(result.history)
    np.testing.assert_allclose(seen[-1].course_dose_gy(), result.course_dose_gy, rtol=1e-5, atol=1e-5)


def test_structures_as_rows_masks_and_weights_agree() -> None:
    matrix, points = toy_matrix(gantry_deg=(0, 90, 180, 270), voxel_mm=10.0)
    mask = np.hypot(points[:, 0], points[:, 1]) < 30
    objectives = [SquaredDeviation(structure="T", dose_gy=2.0), MeanDose(structure="T", dose_gy=1.0)]
    entries = (mask, np.flatnonzero(mask), mask.astype(float), VoxelSet.from_rows(mask))
    results = [optimize_fluence(matrix, objectives, structures={"T": entry}).weights for entry in entries]
    for other in results[1:]:
        assert np.array_equal(results[0], other)


def test_bad_input_is_refused() -> None:
    matrix, _ = toy_matrix(gantry_deg=(0,), voxel_mm=20.0)
    objective = [SquaredDeviation(structure="T", dose_gy=2.0)]
    with pytest.raises(ProtocolError, match="names no structure"):
        optimize_fluence(matrix, objective, structures={"U": [0]})
    with pytest.raises(ProtocolError, match="at least one objective"):
        optimize_fluence(matrix, [], structures={"T": [0]})
    with pytest.raises(StructureError, match="beyond the matrix"):
        optimize_fluence(matrix, objective, structures={"T": [10**6]})
    with pytest.raises(StructureError, match="one entry per row"):
        optimize_fluence(matrix, objective, structures={"T": np.ones(3, dtype=bool)})
    with pytest.raises(ProtocolError, match="starting weights"):
        optimize_fluence(matrix, objective, structures={"T": [0]}, initial_weights=[1.0])
    with pytest.raises(ProtocolError, match="upper bounds"):
        optimize_fluence(matrix, objective, structures={"T": [0]}, maximum_weights=0.0)
    with pytest.raises(GeometryError, match="finite and not negative"):
        optimize_fluence(-matrix, objective, structures={"T": [0]})
    with pytest.raises(GeometryError, match="not a dose-influence matrix"):
        optimize_fluence("A", objective, structures={"T": [0]})
    with pytest.raises(ProtocolError, match="gives no dose"):
        optimize_fluence(matrix * 0.0, objective, structures={"T": [0]})
