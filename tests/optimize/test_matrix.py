"""Any scipy.sparse matrix: products against scipy's, choice of rows, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from imrt_core.optimize import DoseLimit, LimitKind, optimize_fluence
from imrt_core.optimize.matrix import SelectableMatrix, SparseDoseMatrix, as_dose_matrix
from imrt_core.optimize.objectives import SquaredDeviation, SquaredOverdose
from imrt_core.patient import GeometryError
from tests.naive_optimize import toy_matrix

FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")


def _random(seed: int, rows: int, columns: int, density: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0.01, 1.0, (rows, columns)) * (rng.uniform(size=(rows, columns)) < density)
    return np.asarray(dense, dtype=np.float64)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 70),
    columns=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    form=st.sampled_from(["csr", "csc"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_products_and_chosen_rows_are_those_of_the_dense_matrix(
    seed: int, rows: int, columns: int, density: float, form: str, dtype: type
) -> None:
    single = _random(seed, rows, columns, density).astype(dtype)
    matrix = SparseDoseMatrix(sparse.coo_array(single).asformat(form))
    dense = single.astype(np.float64)
    rng = np.random.default_rng(seed + 1)
    # zeros too: they are skipped
    weights = rng.uniform(0, 2, columns) * (rng.uniform(size=columns) < 0.7)
    values = rng.normal(size=rows) * (rng.uniform(size=rows) < 0.7)
    np.testing.assert_allclose(matrix.dose(weights), dense @ weights, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(matrix.backproject(values), values @ dense, rtol=1e-12, atol=1e-12)
    chosen, kept = np.flatnonzero(rng.uniform(size=rows) < 0.6), np.flatnonzero(rng.uniform(size=columns) < 0.8)
    if chosen.size and kept.size:
        part = matrix.select(chosen, kept)
        assert part.shape == (chosen.size, kept.size)
        # sums of up to 70 terms of size 1, in the precision of the entries
        within = 100 * np.finfo(dtype).eps
        np.testing.assert_allclose(
            part.dose(weights[kept]), dense[np.ix_(chosen, kept)] @ weights[kept], rtol=within, atol=within
        )
        expected = values[chosen] @ dense[np.ix_(chosen, kept)]
        np.testing.assert_allclose(part.backproject(values[chosen]), expected, atol=within)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_every_format_and_precision_is_taken(form: str, dtype: type) -> None:
    dense = np.rint(10 * _random(3, 24, 12, 0.4)).astype(dtype)
    weights, values = np.linspace(0, 1, 12), np.linspace(-1, 1, 24)
    for kind in (sparse.coo_array, sparse.coo_matrix):
        found = as_dose_matrix(kind(dense).asformat(form))
        np.testing.assert_allclose(found.dose(weights), dense @ weights, rtol=1e-12)
        np.testing.assert_allclose(found.backproject(values), values @ dense, rtol=1e-12, atol=1e-12)


def test_long_indices_and_unsorted_duplicates() -> None:
    pointer, index = np.array([0, 3, 3, 5], dtype=np.int64), np.array([2, 0, 2, 1, 0], dtype=np.int64)
    matrix = sparse.csr_array((np.array([1.0, 2.0, 3.0, 4.0, 5.0]), index, pointer), shape=(3, 3))
    np.testing.assert_array_equal(as_dose_matrix(matrix).dose(np.array([1.0, 10.0, 100.0])), [402.0, 0.0, 45.0])


def test_what_is_refused() -> None:
    good = sparse.csr_array(_random(1, 6, 4, 0.5))
    for bad in (np.nan, np.inf, -1.0):
        entries = good.copy()
        entries.data[2] = bad
        with pytest.raises(GeometryError, match="finite and not negative"):
            as_dose_matrix(entries)
        with pytest.raises(GeometryError, match="finite and not negative"):
            as_dose_matrix(entries.tocsc())
    outside = good.copy()
    outside.indices[0] = 4
    with pytest.raises(GeometryError, match="index lies outside"):
        as_dose_matrix(outside)
    with pytest.raises(GeometryError, match="real numbers"):
        as_dose_matrix(good.astype(complex))
    with pytest.raises(GeometryError, match="two dimensions"):
        as_dose_matrix(np.ones(5))
    with pytest.raises(GeometryError, match="none of them 0"):
        as_dose_matrix(sparse.csr_array((0, 4)))
    matrix = as_dose_matrix(good)
    for product, size in ((matrix.dose, 6), (matrix.backproject, 4)):
        with pytest.raises(GeometryError, match="do not fit"):
            product(np.ones(size))


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-6), (np.float32, 3e-4)])
def test_rows_that_are_left_out_change_nothing(dtype: type, within: float) -> None:
    """The same problem with and without the choice of rows: a wrapper that cannot select keeps all of them."""

    class Whole:
        def __init__(self, matrix: SparseDoseMatrix) -> None:
            self.shape, self.dose, self.backproject = matrix.shape, matrix.dose, matrix.backproject

    matrix, points = toy_matrix()
    radius = np.hypot(points[:, 0], points[:, 1])
    structures = {"Target": radius < 20, "Body": radius >= 20}
    objectives = [
        SquaredDeviation(structure="Target", dose_gy=50.0, weight=100.0),
        SquaredOverdose(structure="Body", dose_gy=25.0, weight=10.0),
    ]
    every, own = Whole(SparseDoseMatrix(matrix)), SparseDoseMatrix(matrix.astype(dtype).tocsc())
    assert isinstance(own, SelectableMatrix) and not isinstance(every, SelectableMatrix)
    options = {"structures": structures, "course_gy_per_matrix_gy": 25.0, "max_iterations": 2000, "tolerance": 1e-9}
    expected = optimize_fluence(every, objectives, **options)
    found = optimize_fluence(own, objectives, **options)
    # not all of the body lies above the level: rows were left out
    dose = found.course_dose_gy
    assert np.mean(dose < 20.0) > 0.3
    np.testing.assert_allclose(dose, 25.0 * (matrix.astype(dtype) @ found.weights), rtol=1e-6)
    # single precision of the entries moves the minimum and ends the search a little earlier
    assert found.objective == pytest.approx(expected.objective, rel=within)


def test_objectives_that_are_silent_at_the_start_find_their_way() -> None:
    """No row matters at the start: an overdose objective alone, and one beside a hard limit."""
    rows = {"Organ": [0], "Target": [1]}
    silent = SquaredOverdose(structure="Organ", dose_gy=40.0)
    found = optimize_fluence(np.array([[0.5], [1.0]]), [silent], structures=rows, initial_weights=[1.0])
    assert found.objective == 0.0
    limit = DoseLimit(structure="Target", kind=LimitKind.MIN, dose_gy=10.0)
    held = optimize_fluence(np.array([[0.5], [1.0]]), [silent], structures=rows, limits=[limit], initial_weights=[1.0])
    assert held.feasible
    assert held.weights[0] == pytest.approx(10.0, abs=0.1)
