"""Storages of the influence matrix: explicit and hybrid, 32 and 16 bits, in memory and on disk."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.dose import BeamGeometry, Bixels, InfluenceMatrix, bixel_grid, influence_matrix
from imrt_core.dose import influence_store as store
from imrt_core.dose.beam_state import beam_state, sort_by_key
from imrt_core.dose.influence_block import STORAGES
from imrt_core.dose.influence_groups import StoredGroups, stored_radius_mm
from imrt_core.dose.tail_maps import TailMaps
from imrt_core.geometry.raytrace import radiological_depths, ray_volume
from imrt_core.machine import load_machine
from imrt_core.patient import PlanError
from tests import naive_dose

from .phantoms import mixed_patient, water_box

MACHINE = load_machine("generic_6mv")
CENTRE = (0.0, 0.0, 10.0)
BEAMS = (
    BeamGeometry(40.0, CENTRE, "HFS"),
    BeamGeometry(115.0, CENTRE, "HFS", collimator_deg=30.0, table_deg=40.0),
)


@cache
def matrix_of(storage: str, cutoff_mm: float = 30.0) -> InfluenceMatrix:
    """Two beams, one of them not in the plane of the gantry, on every third voxel."""
    red = mixed_patient()
    bixels = [bixel_grid(beam, [CENTRE], margin_mm=28.0) for beam in BEAMS]
    voxels = np.flatnonzero(red.array > 0.1)[::3]
    options = {"bixels": bixels, "voxels": voxels, "dose_grid": red.grid, "cutoff_mm": cutoff_mm}
    return influence_matrix(red, BEAMS, MACHINE, storage=storage, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", STORAGES)
def test_entries_against_the_naive_twin(storage: str) -> None:
    red = mixed_patient()
    beam = BeamGeometry(65.0, (-20.0, 0.0, 10.0), "HFS", collimator_deg=20.0, table_deg=10.0)
    bixels = Bixels(5.0, np.array([[0, 0], [-3, 1], [2, -2], [5, 6]], dtype=np.int32))
    near = np.linalg.norm(red.grid.voxel_centres_lps() - beam.isocentre_lps, axis=-1) < 45
    rng = np.random.default_rng(4)
    voxels = np.sort(rng.choice(np.flatnonzero((red.array > 0.1) & near), 8, replace=False))
    options = {"bixels": [bixels], "voxels": voxels, "dose_grid": red.grid}
    found = influence_matrix(red, [beam], MACHINE, storage=storage, **options)  # type: ignore[arg-type]
    points = red.grid.voxel_centres_lps().reshape(-1, 3)[voxels]
    corners = np.concatenate([bixels.index, bixels.index + 1], axis=1) * 5.0
    expected = np.array([naive_dose.influence(MACHINE.model, beam, red, corners, p) for p in points])
    difference = np.abs(found.as_scipy().toarray() - expected) / expected.max()
    assert difference.max() < 0.01
    assert difference.mean() < 0.001


@pytest.mark.parametrize("storage", STORAGES)
def test_products_are_those_of_the_explicit_matrix(storage: str) -> None:
    matrix = matrix_of(storage)
    explicit = matrix.as_scipy().toarray().astype(float)
    rng = np.random.default_rng(2)
    w, g = rng.random(matrix.shape[1]), rng.normal(size=matrix.shape[0])
    np.testing.assert_allclose(matrix.dose(w), explicit @ w, atol=2e-6 * float(matrix.dose(w).max()))
    gradient = explicit.T @ g
    np.testing.assert_allclose(matrix.backproject(g), gradient, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("storage", STORAGES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_adjoint(storage: str, seed: int) -> None:
    """⟨A·w, g⟩ = ⟨w, Aᵀ·g⟩ to 1e-5 of what the sums could be at most."""
    matrix = matrix_of(storage)
    rng = np.random.default_rng(seed)
    w, g = rng.random(matrix.shape[1]).astype(np.float32), rng.normal(size=matrix.shape[0]).astype(np.float32)
    dose = matrix.dose(w).astype(float)
    assert float(dose @ g) == pytest.approx(float(matrix.backproject(g) @ w), abs=1e-5 * float(dose @ np.abs(g)))


@pytest.mark.parametrize("storage", STORAGES)
def test_threads_do_not_matter(storage: str, all_threads: int) -> None:
    numba.set_num_threads(1)
    matrix_of.cache_clear()
    matrix = matrix_of(storage)
    w, g = np.linspace(0, 1, matrix.shape[1]), np.linspace(-1, 1, matrix.shape[0])
    one = matrix.dose(w), matrix.backproject(g)
    numba.set_num_threads(all_threads)
    matrix_of.cache_clear()
    again = matrix_of(storage)
    np.testing.assert_array_equal(again.dose(w), one[0])
    np.testing.assert_array_equal(again.backproject(g), one[1])


@pytest.mark.parametrize(("fine", "coarse"), [("float32", "uint16"), ("hybrid", "hybrid-uint16")])
def test_quantisation_is_half_a_step(fine: str, coarse: str) -> None:
    """Each stored entry within half of 1/65535 of the largest of its voxel and beam; doses as such errors add up."""
    exact, rounded = matrix_of(fine), matrix_of(coarse)
    assert rounded.entries == exact.entries
    assert rounded.nbytes < exact.nbytes
    w = np.random.default_rng(5).random(exact.shape[1])
    variance = np.zeros(exact.shape[0])
    for a, b, columns in zip(exact.blocks, rounded.blocks, exact.columns, strict=True):
        cells = a.fluence.size
        x, y = (block.stored.explicit(exact.shape[0], cells).astype(float) for block in (a, b))
        step = x.max(axis=1, keepdims=True) / 65535
        # Single precision of the entry itself, 6e-8, is 0.004 of a step.
        assert np.all(np.abs(x - y) <= 0.51 * step)
        lattice = a.bixels.to_lattice(w[columns]).ravel().astype(float)
        variance += step[:, 0] ** 2 / 12 * ((x > 0) @ lattice**2)
    doses = exact.dose(w).astype(float), rounded.dose(w).astype(float)
    # Rounding is uniform over a step: six standard deviations of the sum, and single precision.
    assert np.all(np.abs(doses[1] - doses[0]) <= 6 * np.sqrt(variance) + 1e-6 * doses[0])
    assert np.sqrt(np.mean((doses[1] - doses[0]) ** 2)) < 1e-5 * doses[0].max()


@pytest.mark.parametrize("storage", ["float32", "uint16"])
@pytest.mark.parametrize("cutoff_mm", [12.0, 30.0])
def test_every_bixel_within_the_cutoff_is_stored(storage: str, cutoff_mm: float) -> None:
    matrix = matrix_of(storage, cutoff_mm)
    k, j, i = np.unravel_index(matrix.voxels, matrix.dose_grid.shape)
    points = matrix.dose_grid.to_lps(np.stack([i, j, k], axis=1))
    for block in matrix.blocks:
        seen = block.beam.project(points)
        away = np.linalg.norm(seen[:, None] - block.bixels.centres_mm, axis=2)
        kept = np.zeros((matrix.shape[0], block.fluence.size), dtype=bool)
        layout = block.stored.layout
        for g in range(len(layout.voxel_pointer) - 1):
            rows = layout.order[layout.voxel_pointer[g] : layout.voxel_pointer[g + 1]]
            at = layout.bixel[layout.bixel_pointer[g] : layout.bixel_pointer[g + 1]]
            kept[np.ix_(rows, at)] = True
        kept = kept[:, block.bixels.lattice_position]
        assert np.all(kept[away < cutoff_mm - 1e-3])
        diagonal = block.bixels.width_mm / 2 * np.sqrt(2)
        assert not np.any(kept[away > cutoff_mm + diagonal + 1e-3])


def test_the_tail_replaces_what_the_cutoff_drops() -> None:
    """A wide field with a 30 mm cutoff: within 0.5 % of the maximum of the matrix without one, by way of the tail."""
    water = water_box((300.0, 200.0, 300.0), spacing_mm=10.0, top_lps=(0.0, -100.0, 0.0))
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS")
    u, v = np.meshgrid(np.arange(-16, 16), np.arange(-16, 16))
    bixels = Bixels(5.0, np.stack([u.ravel(), v.ravel()], axis=1).astype(np.int32))
    voxels = np.flatnonzero(water.array > 0.1)
    options = {"bixels": [bixels], "voxels": voxels, "dose_grid": water.grid, "cutoff_mm": 30.0}
    explicit = influence_matrix(water, [beam], MACHINE, storage="float32", **options)  # type: ignore[arg-type]
    hybrid = influence_matrix(water, [beam], MACHINE, **{**options, "cutoff_mm": 50.0})  # type: ignore[arg-type]
    w = np.ones(explicit.shape[1], dtype=np.float32)
    dose, expected = explicit.dose(w), hybrid.dose(w)
    stored = np.zeros(explicit.shape[0], dtype=np.float32)
    explicit.blocks[0].stored.add_dose(explicit.blocks[0].bixels.to_lattice(w).ravel(), stored)
    assert np.abs(dose - expected).max() < 0.005 * expected.max()
    assert np.abs(stored - expected).max() > 0.03 * expected.max()


def test_tail_against_a_direct_sum() -> None:
    """The tail of an open field at every voxel, against its bixels beyond the stored radius one by one."""
    matrix = matrix_of("float32", 20.0)
    red = mixed_patient()
    rays = ray_volume(red)
    k, j, i = np.unravel_index(matrix.voxels, matrix.dose_grid.shape)
    points = matrix.dose_grid.to_lps(np.stack([i, j, k], axis=1))
    block = matrix.blocks[0]
    state = beam_state(rays, block.beam, points)
    weights = np.ones(len(block.bixels), dtype=np.float32)
    found = np.zeros(matrix.shape[0], dtype=np.float32)
    block.add_wide_dose(block.bixels.to_lattice(weights), found)
    radius = stored_radius_mm(20.0, block.bixels.width_mm)
    expected = np.zeros(matrix.shape[0])
    seen = np.stack([state.u_mm, state.v_mm], axis=1).astype(float)
    outside = np.linalg.norm(seen[:, None] - block.bixels.centres_mm, axis=2) > radius
    fluence = block.fluence.ravel()[block.bixels.lattice_position]
    low = block.bixels.index * block.bixels.width_mm
    for part in block.wide:
        assert isinstance(part.maps, TailMaps)
        amplitude = state.amplitude(MACHINE.model, part.maps.components)
        for place, n in enumerate(part.maps.components):
            width = MACHINE.model.widths_mm(np.exp(state.log_scale(MACHINE.model, n).astype(float)))[:, n]
            tail = np.zeros(matrix.shape[0])
            for bixel in range(len(block.bixels)):
                edges = low[bixel][None], low[bixel][None] + block.bixels.width_mm
                value = naive_dose.gaussian_over_cells(seen - edges[0], seen - edges[1], width)
                tail += np.where(outside[:, bixel], value * fluence[bixel], 0.0)
            expected += amplitude[:, place] * tail
    total = matrix.dose(np.ones(matrix.shape[1])).max()
    assert np.abs(found - expected).max() < 0.01 * total
    assert np.abs(found - expected).mean() < 0.001 * total


@pytest.mark.parametrize("storage", STORAGES)
def test_saved_and_mapped(storage: str, tmp_path: Path) -> None:
    matrix = matrix_of(storage)
    path = tmp_path / "beam.dim"
    matrix.save(path)
    matrix.save(path)  # again over the old one
    assert [p.name for p in tmp_path.iterdir()] == ["beam.dim"]
    loaded = InfluenceMatrix.load(path, model_name=matrix.model_name)
    assert loaded.shape == matrix.shape
    assert (loaded.entries, loaded.nbytes) == (matrix.entries, matrix.nbytes)
    assert loaded.dose_grid == matrix.dose_grid
    np.testing.assert_array_equal(loaded.voxels, matrix.voxels)
    assert [b.beam for b in loaded.blocks] == [b.beam for b in matrix.blocks]
    w = np.linspace(0, 1, matrix.shape[1])
    np.testing.assert_array_equal(loaded.dose(w), matrix.dose(w))
    np.testing.assert_array_equal(loaded.backproject(loaded.dose(w)), matrix.backproject(matrix.dose(w)))
    base = loaded.blocks[0].stored.values
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base  # type: ignore[assignment]
    assert base is not None  # entries are views of the mapped file


def test_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = matrix_of("uint16")
    path = tmp_path / "a.dim"
    matrix.save(path)
    with pytest.raises(PlanError, match="another beam model"):
        InfluenceMatrix.load(path, model_name="other 1")
    monkeypatch.setattr(store, "FORMAT_VERSION", store.FORMAT_VERSION + 1)
    with pytest.raises(PlanError, match="another version"):
        InfluenceMatrix.load(path)
    monkeypatch.undo()
    whole = path.read_bytes()
    (tmp_path / "short.dim").write_bytes(whole[:-100])
    with pytest.raises(PlanError, match="damaged"):
        InfluenceMatrix.load(tmp_path / "short.dim")
    (tmp_path / "cut.dim").write_bytes(whole[:200])
    with pytest.raises(PlanError, match="damaged"):
        InfluenceMatrix.load(tmp_path / "cut.dim")
    (tmp_path / "other.dim").write_bytes(b"something else")
    with pytest.raises(PlanError, match="not an influence matrix"):
        InfluenceMatrix.load(tmp_path / "other.dim")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = matrix_of("uint16")
    path = tmp_path / "a.dim"
    matrix.save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        matrix.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.dim"]


def test_an_offset_moves_bixels() -> None:
    """Bixel (0, 0) moved by one width is bixel (1, 0)."""
    red = mixed_patient()
    voxels = np.flatnonzero(red.array > 0.1)[::17]
    for storage in STORAGES:
        columns = []
        for bixels in (Bixels(5.0, np.array([[0, 0]]), (5.0, -10.0)), Bixels(5.0, np.array([[1, -2]]))):
            options = {"bixels": [bixels], "voxels": voxels, "dose_grid": red.grid}
            matrix = influence_matrix(red, BEAMS[:1], MACHINE, storage=storage, **options)  # type: ignore[arg-type]
            columns.append(matrix.dose([1.0]))
        np.testing.assert_allclose(columns[0], columns[1], atol=1e-4 * columns[1].max())


def test_depths_of_the_tiles_are_those_of_the_whole_fan() -> None:
    red = mixed_patient()
    rays = ray_volume(red)
    points = red.grid.voxel_centres_lps()[red.array > 0.1]
    for beam in BEAMS:
        state = beam_state(rays, beam, points)
        np.testing.assert_allclose(state.depth_mm, radiological_depths(rays, beam, points), atol=2e-3)
        np.testing.assert_allclose(np.stack([state.u_mm, state.v_mm], axis=1), beam.project(points), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 6), min_size=1, max_size=60))
def test_counting_sort(keys: list[int]) -> None:
    key = np.array(keys, dtype=np.int32)
    start = np.zeros(8, dtype=np.int64)
    order = np.empty(int(np.count_nonzero(key >= 0)), dtype=np.int32)
    sort_by_key(key, start, order)
    kept = np.flatnonzero(key >= 0)
    np.testing.assert_array_equal(order, kept[np.argsort(key[kept], kind="stable")])
    np.testing.assert_array_equal(np.diff(start), [np.count_nonzero(key == k) for k in range(7)])


def naive_groups(stored: StoredGroups, cells: int, voxels: int) -> np.ndarray:
    """Naive twin of the stored products: every entry of every group, one at a time."""
    layout, found = stored.layout, np.zeros((voxels, cells))
    entry = 0
    for g in range(len(layout.voxel_pointer) - 1):
        for place in range(layout.voxel_pointer[g], layout.voxel_pointer[g + 1]):
            for bixel in layout.bixel[layout.bixel_pointer[g] : layout.bixel_pointer[g + 1]]:
                found[layout.order[place], bixel] += float(stored.values[entry]) * float(stored.scale[place])
                entry += 1
    assert entry == len(stored.values)
    return found


@pytest.mark.parametrize("storage", ["hybrid-uint16", "float32"])
def test_stored_products_against_the_naive_twin(storage: str) -> None:
    """Groups of one to a dozen voxels: whole fours, and what is left of them."""
    matrix = matrix_of(storage, 12.0)
    for block in matrix.blocks:
        cells, voxels = block.fluence.size, matrix.shape[0]
        sizes = np.diff(block.stored.layout.voxel_pointer)
        assert {1, 2, 3, 4} <= set((sizes % 4 + 4 * (sizes % 4 == 0)).tolist())
        entries = naive_groups(block.stored, cells, voxels)
        rng = np.random.default_rng(3)
        w, g = rng.random(cells).astype(np.float32), rng.normal(size=voxels).astype(np.float32)
        dose = np.zeros(voxels, dtype=np.float32)
        block.stored.add_dose(w, dose)
        np.testing.assert_allclose(dose, entries @ w, atol=2e-6 * dose.max())
        gradient = entries.T @ g
        bound = 2e-6 * (entries.T @ np.abs(g)).max()
        np.testing.assert_allclose(block.stored.backproject(g, cells), gradient, atol=bound)


def test_entries_beyond_a_voxels_own_reach_are_zero() -> None:
    """Hybrid storages: a group holds what its widest voxel needs, and counts what each needs."""
    matrix = matrix_of("hybrid")
    for block in matrix.blocks:
        assert np.count_nonzero(block.stored.values) <= block.entries < len(block.stored.values)
        assert np.count_nonzero(block.stored.values) > 0.99 * block.entries


def test_an_unknown_storage_is_refused() -> None:
    red = mixed_patient()
    bixels = [Bixels(5.0, np.array([[0, 0]]))]
    with pytest.raises(PlanError, match="storage"):
        influence_matrix(
            red,
            BEAMS[:1],
            MACHINE,
            bixels=bixels,
            voxels=[9000],
            dose_grid=red.grid,
            storage="float16",  # type: ignore[arg-type]
        )
