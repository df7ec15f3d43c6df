"""Images that do not belong together must fail: real patients against each other, head against pelvis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imrt_core.patient import Grid, RigidTransform, Volume
from imrt_core.phantom import build_patient
from registration import register_rigid

from .phantoms import error_of, planning_ct


def _openkbp(path: Path) -> Volume:
    data = np.load(path)
    array = np.ascontiguousarray((data["ct"].astype(np.float32) - 1000).transpose(2, 0, 1)[::-1])
    y, x, z = (float(v) for v in data["voxel_mm"])
    return Volume(array, Grid((128, 128, 128), (x, y, z), (-64 * x, -64 * y, 300.0)))


@pytest.mark.shared_data
def test_two_real_patients_do_not_match(shared_data: Path) -> None:
    one = _openkbp(shared_data / "openkbp" / "test_pt_254.npz")
    other = _openkbp(shared_data / "openkbp" / "train_pt_37.npz")
    match = register_rigid(one, other)
    assert not match.quality.passed
    assert match.quality.correlation < 0.6
    moved = RigidTransform.from_parameters(translation_mm=(5, 3, -8), rotation_deg=(2, 1, -1))
    same = register_rigid(one, one.with_grid(one.grid.transformed(moved)))
    assert same.quality.passed, same.quality.reasons
    assert error_of(same.moving_from_fixed, moved, np.zeros(3))[0] < 0.05


def test_a_head_does_not_match_a_pelvis() -> None:
    pelvis = build_patient("pelvis").planning.ct.hu
    match = register_rigid(planning_ct(), pelvis)
    assert not match.quality.passed
    assert match.quality.correlation < 0.6
