from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from imrt_core.patient import DisplacementField, Goal, Grid, RigidTransform, Volume
from pipelines.codec import read_npz, read_value_json, write_npz, write_value_json
from pipelines.errors import StorageError


def test_domain_objects_come_back_equal(tmp_path: Path) -> None:
    grid = Grid((2, 3, 4), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    volume = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4), grid)
    field = DisplacementField.from_rigid(RigidTransform.from_parameters(translation_mm=(1, 2, 3)), grid)
    goal = Goal.parse("SpinalCord D0.03cc[Gy] <= 45 (hard)")
    value = {"volume": volume, "field": field, "goals": (goal, None), "number": math.nan, "text": "é"}
    back = read_npz(write_npz(tmp_path / "a.npz", value))
    np.testing.assert_array_equal(back["volume"].array, volume.array)
    assert back["volume"].array.dtype == np.float32 and back["volume"].grid == grid
    np.testing.assert_array_equal(back["field"].vectors_mm, field.vectors_mm)
    assert type(back["goals"][0].metric.kind) is type(goal.metric.kind)
    assert back["goals"] == (goal, None) and math.isnan(back["number"]) and back["text"] == "é"


def test_the_same_value_gives_the_same_bytes(tmp_path: Path) -> None:
    grid = Grid((2, 2, 2), (1.0, 1.0, 1.0))
    value = (Volume(np.ones((2, 2, 2)), grid), Goal.parse("PTV70 V70Gy[%] >= 95"))
    first, second = write_npz(tmp_path / "a.npz", value), write_npz(tmp_path / "b.npz", value)
    assert first.read_bytes() == second.read_bytes()


def test_json_is_readable_and_refuses_arrays(tmp_path: Path) -> None:
    goal = Goal.parse("Parotid_L Mean[Gy] < 26")
    path = write_value_json(tmp_path / "goal.json", goal)
    assert json.loads(path.read_text())["value"]["fields"]["structure"] == "Parotid_L"
    assert read_value_json(path) == goal
    with pytest.raises(TypeError, match="array"):
        write_value_json(tmp_path / "x.json", np.ones(3))
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    "document",
    [
        {"codec_version": 2, "value": 1},
        {"codec_version": 1, "value": {"$type": "subprocess:Popen", "fields": {"args": "true"}}},
        {"codec_version": 1, "value": {"$type": "imrt_core.patient.goals:re", "fields": {}}},
        {"codec_version": 1, "value": {"$enum": "pipelines.codec:read_npz", "value": "x"}},
    ],
)
def test_foreign_types_and_versions_are_refused(tmp_path: Path, document: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(StorageError):
        read_value_json(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", (1, 2))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StorageError, match="damaged"):
        read_npz(path)
    with pytest.raises(StorageError, match="refuses to read"):
        read_npz(tmp_path / "none.npz")


def test_objects_of_other_packages_are_not_stored(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_npz(tmp_path / "a.npz", {1, 2})


def test_a_replaced_file_is_read_anew_and_what_is_shared_cannot_be_changed(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", {"values": np.zeros(3)})
    first = read_npz(path)
    with pytest.raises(ValueError, match="read-only"):
        first["values"][0] = 1.0
    write_npz(path, {"values": np.ones(3)})
    np.testing.assert_array_equal(read_npz(path)["values"], np.ones(3))
    np.testing.assert_array_equal(first["values"], np.zeros(3))
