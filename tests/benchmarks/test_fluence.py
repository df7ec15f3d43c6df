"""The fluence benchmark: the peer's problem becomes ours, and the curves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from benchmarks.fluence import POINTS, seconds_to, thinned
from benchmarks.fluence_case import read_case
from imrt_core.patient import InputRefusedError


def _write(folder: Path, kinds: list[dict[str, object]], objective: float) -> None:
    matrix = np.array([[1.0, 0.0], [1.0, 2.0], [0.0, 4.0]])
    sparse.save_npz(folder / "matrix.npz", sparse.csc_array(matrix))
    masks = {f"objective_{n}": np.array(mask) for n, mask in enumerate(([1, 1, 0], [0, 1, 1], [1, 0, 0]))}
    np.savez(folder / "masks.npz", **{name: mask.astype(bool) for name, mask in masks.items()})
    np.savez(folder / "history.npz", weights=np.array([3.0, 1.0]))
    (folder / "problem.json").write_text(json.dumps({"objectives": kinds, "objective": objective}))


def test_the_peers_objective_is_reproduced(tmp_path: Path) -> None:
    kinds: list[dict[str, object]] = [
        {"kind": "SquaredOverdosing", "d_max": 4.0, "priority": 10.0},
        {"kind": "SquaredDeviation", "d_ref": 3.0, "priority": 100.0},
        {"kind": "SquaredUnderdosing", "d_min": 6.0, "priority": 2.0},
    ]
    # doses 3, 5, 4: 10·(0 + 1)/2 + 100·(4 + 1)/2 + 2·9
    _write(tmp_path, kinds, 273.0)
    case = read_case(tmp_path)
    assert case.check() == pytest.approx(0.0, abs=1e-12)
    # slopes 2·10·1/2 and 2·100·(2, 1)/2 and −2·2·3 on the doses; columns (1, 1, 0) and (0, 2, 4)
    np.testing.assert_allclose(case.evaluate(np.array([3.0, 1.0]))[1], [-12 + 210, 2 * 210 + 4 * 100])
    _write(tmp_path, kinds, 273.1)
    with pytest.raises(InputRefusedError, match="not reproduced"):
        read_case(tmp_path).check()


def test_an_unknown_objective_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, [{"kind": "EUD", "priority": 1.0}], 1.0)
    with pytest.raises(InputRefusedError, match="no counterpart"):
        read_case(tmp_path)


def test_curves() -> None:
    curve = np.stack([np.arange(1.0, 1001.0), 1e3 / np.arange(1.0, 1001.0)], axis=1)
    assert seconds_to(curve, 10.0) == 100.0
    assert seconds_to(curve, 0.5) is None
    kept = thinned(curve)
    assert len(kept) <= POINTS
    assert kept[0] == [1.0, 1000.0] and kept[-1] == [1000.0, 1.0]
