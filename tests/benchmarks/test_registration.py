"""The registration benchmark: its errors against obvious loops, what it refuses, and a small pair end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.registration import judged, main
from benchmarks.registration_case import deformable_case, rigid_case
from benchmarks.registration_cohort import Case, FixedSetup, summary
from benchmarks.registration_data import read_pair
from benchmarks.registration_errors import Errors, Landmarks, field_errors, folded_percent, inverse_errors
from benchmarks.registration_tools import TOOLS, Found, NotRunError, elastix_transform
from imrt_core.patient import DisplacementField, Grid, InputRefusedError, RigidTransform, Volume
from registration.itk import write_field, write_transform, write_volume

from ..registration.phantoms import Anatomy, image_of_day, planning_ct

MOTION = RigidTransform.from_parameters(translation_mm=(6, -4, 9), rotation_deg=(2, -1, 1.5), centre_lps=(0, 0, 0))


def _field(shape: tuple[int, int, int], seed: int, size: float = 1.0) -> DisplacementField:
    rng = np.random.default_rng(seed)
    return DisplacementField(rng.normal(0, size, (*shape, 3)).astype(np.float32), Grid(shape, (1.5, 2.0, 3.0)))


def test_errors_are_those_of_a_plain_loop() -> None:
    field, truth = _field((4, 5, 6), 1), _field((4, 5, 6), 2)
    mask = np.random.default_rng(3).random((4, 5, 6)) > 0.4
    lengths = [
        sum((float(field.vectors_mm[k, j, i, c]) - float(truth.vectors_mm[k, j, i, c])) ** 2 for c in range(3)) ** 0.5
        for k in range(4)
        for j in range(5)
        for i in range(6)
        if mask[k, j, i]
    ]
    found = field_errors(field, truth, mask)
    assert found.count == len(lengths)
    assert found.mean_mm == pytest.approx(sum(lengths) / len(lengths))
    assert found.max_mm == pytest.approx(max(lengths))
    assert found.p95_mm == pytest.approx(np.percentile(lengths, 95))
    # One voxel far off, inside or outside the mask, is seen or not.
    wrong = field.vectors_mm.copy()
    wrong[tuple(np.argwhere(mask)[0])] += 100
    assert field_errors(DisplacementField(wrong, field.grid), truth, mask).max_mm > 90
    other = field.vectors_mm.copy()
    other[~mask] += 100
    assert field_errors(DisplacementField(other, field.grid), truth, mask) == found


def test_folds_are_those_of_a_plain_loop() -> None:
    turn = RigidTransform.from_parameters(rotation_deg=(10, 20, 30))
    for grid in (Grid((6, 7, 8), (1.5, 2.0, 3.0)), Grid((6, 7, 8), (1.5, 2.0, 3.0)).transformed(turn)):
        field = DisplacementField(_field(grid.shape, 4, 1.2).vectors_mm, grid)
        folds = 0
        for k in range(1, 5):
            for j in range(1, 6):
                for i in range(1, 7):
                    columns = []
                    for d in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
                        up = grid.to_lps([i + d[0], j + d[1], k + d[2]])
                        low = grid.to_lps([i - d[0], j - d[1], k - d[2]])
                        up = up + field.vectors_mm[k + d[2], j + d[1], i + d[0]]
                        low = low + field.vectors_mm[k - d[2], j - d[1], i - d[0]]
                        columns.append((up - low) / 2)
                    folds += np.linalg.det(np.stack(columns, axis=1)) <= 0
        inner = np.zeros(grid.shape, dtype=bool)
        inner[1:-1, 1:-1, 1:-1] = True
        assert folds > 0
        assert folded_percent(field, inner) == pytest.approx(100 * folds / inner.sum())
        assert folded_percent(DisplacementField.from_rigid(MOTION, grid), inner) == 0


def test_inverse_consistency_sees_a_wrong_inverse() -> None:
    grid = Grid((20, 24, 28), (3.0, 3.0, 3.0), (-40, -35, -30))
    mask = np.zeros(grid.shape, np.float32)
    mask[5:-5, 5:-5, 5:-5] = 1
    body = Volume(mask, grid)
    forward = DisplacementField.from_rigid(MOTION, grid)
    assert inverse_errors(forward, None, body, MOTION)[1] < 0.01
    assert inverse_errors(forward, None, body, RigidTransform.identity())[0] < 0.05
    wrong = RigidTransform.from_parameters(translation_mm=(1, 0, 0)) @ MOTION.inverse()
    assert inverse_errors(forward, DisplacementField.from_rigid(wrong, grid), body, MOTION)[0] == pytest.approx(
        1, abs=0.01
    )


def test_landmarks(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-40, 40, (7, 3))
    (tmp_path / "f.csv").write_text("x,y,z\n" + "".join(f"{x},{y},{z}\n" for x, y, z in points))
    (tmp_path / "m.csv").write_text("x, y, z\n" + "".join(f"{x},{y},{z}\n" for x, y, z in MOTION.apply(points)))
    marks = Landmarks.read(tmp_path / "f.csv", tmp_path / "m.csv")
    np.testing.assert_allclose(marks.fixed, points)
    np.testing.assert_allclose(marks.moving, MOTION.apply(points))
    (tmp_path / "short.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(InputRefusedError, match="row by row"):
        Landmarks.read(tmp_path / "f.csv", tmp_path / "short.csv")
    (tmp_path / "bad.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(InputRefusedError, match="cannot be read"):
        Landmarks.read(tmp_path / "bad.csv", tmp_path / "f.csv")
    with pytest.raises(InputRefusedError, match="no errors"):
        Errors.of(np.full((2, 3), np.nan))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    ct = planning_ct(spacing_mm=(8.0, 8.0, 8.0))
    write_volume(ct, tmp_path / "ct.mha")
    other = Grid(ct.grid.shape, ct.grid.spacing_mm, tuple(np.add(ct.grid.origin_lps, 4.0)))
    write_field(DisplacementField(np.zeros((*other.shape, 3), np.float32), other), tmp_path / "truth.mha")
    images = (tmp_path / "ct.mha", tmp_path / "ct.mha")
    with pytest.raises(InputRefusedError, match="another grid"):
        read_pair(*images, truth=tmp_path / "truth.mha")
    zero = DisplacementField(np.zeros((*ct.grid.shape, 3), np.float32), ct.grid)
    with pytest.raises(InputRefusedError, match="another grid"):
        field_errors(zero, DisplacementField(zero.vectors_mm, other), np.ones(ct.grid.shape, bool))
    write_volume(ct.with_array(np.zeros(ct.grid.shape, np.uint8)), tmp_path / "empty.mha")
    with pytest.raises(InputRefusedError, match="mask is empty"):
        read_pair(*images, mask=tmp_path / "empty.mha")
    assert main([*map(str, images), "--truth", str(tmp_path / "truth.mha")]) == 3


def test_a_small_pair_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct = planning_ct(spacing_mm=(4.0, 4.0, 4.0))
    day = image_of_day(Anatomy(), MOTION, spacing_mm=(4.0, 4.0, 4.0), length_mm=160)
    write_volume(ct, tmp_path / "f.nii.gz")
    write_volume(day, tmp_path / "m.nrrd")
    write_transform(MOTION, tmp_path / "truth.tfm")
    images = [str(tmp_path / "f.nii.gz"), str(tmp_path / "m.nrrd")]
    common = ["--tools", "ours", "--json", "--save", str(tmp_path / "out.json")]
    assert main([*images, "--truth", str(tmp_path / "truth.tfm"), *common]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((tmp_path / "out.json").read_text())
    ours = answer["tools"]["ours"]
    assert answer["mode"] == "rigid"
    assert ours["seconds"] > 0
    assert ours["mean_mm"] < 0.5
    assert answer["initial"]["mean_mm"] > 3
    assert ours["mean_mm"] <= ours["p95_mm"] <= ours["max_mm"]
    assert ours["folded_percent"] == 0
    # Neither truth nor landmarks: errors are null, the rest stands.
    pair = read_pair(*map(Path, images))
    figures = judged(pair, Found(DisplacementField.from_rigid(MOTION, pair.fixed.grid), None, {"seconds": 1.0}), MOTION)
    assert figures["mean_mm"] is None
    assert figures["seconds"] == 1.0
    assert figures["folded_percent"] == 0
    assert figures["inverse_max_mm"] < 0.1


def test_a_peer_that_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for mode in ("rigid", "deformable"):
        for tool in ("elastix", "plastimatch"):
            with pytest.raises(NotRunError, match=f"Debian's package {tool}"):
                TOOLS[mode][tool](tmp_path, 2)


def test_the_start_that_elastix_is_given() -> None:
    grid = Grid((10, 11, 12), (1.0, 2.0, 3.0), (-4.0, -5.0, -6.0))
    text = elastix_transform(MOTION, grid)
    line = next(line for line in text.splitlines() if line.startswith("(TransformParameters "))
    numbers = np.array([float(v) for v in line[1:-1].split()[1:]])
    again = RigidTransform.from_parameters(translation_mm=numbers[3:], rotation_deg=np.rad2deg(numbers[:3]))
    np.testing.assert_allclose(again.matrix, MOTION.matrix, atol=1e-9)
    assert "(Size 12 11 10)" in text


def test_the_truth_of_synthetic_pairs_aligns_them() -> None:
    grid = Grid((24, 96, 96), (4.0, 4.0, 4.0), (-190.0, -190.0, -46.0))
    for make in (rigid_case, deformable_case):
        case = make(seed=3, grid=grid)
        inside = case.mask.array > 0
        points = grid.voxel_centres_lps()[inside]
        moved = points + case.truth.vectors_mm[inside]
        kept = grid.contains(moved)
        values = case.moving.sample(moved[kept])
        still = case.moving.sample(points[kept])
        fixed = case.fixed.array[inside][kept]
        # Linear sampling of 4 mm voxels blurs edges; what is not aligned differs far more.
        assert np.mean(np.abs(values - fixed)) < 0.6 * np.mean(np.abs(still - fixed))
    length = np.linalg.norm(case.truth.vectors_mm[inside], axis=1)
    assert length.mean() == pytest.approx(3.1, abs=0.2)


def test_the_cohort_counts_failures() -> None:
    good = Case(True, 0.1, 0.05, True, 1.0)
    cases = [good, good, Case(True, 0.1, 0.6, True, 1.0), Case(True, 1.2, 0.1, False, 1.0)]
    cases += [Case(False, np.inf, np.inf, False, 1.0), Case(False, np.inf, np.inf, True, 1.0)]
    figures = summary(cases)
    assert figures["success_percent"] == 50
    assert figures["failures_that_passed"] == 1
    assert figures["other_patients_that_passed"] == 1
    assert figures["passed_of_successes"] == 2
    rng = np.random.default_rng(0)
    for _ in range(50):
        setup = FixedSetup.random(rng)
        assert np.linalg.norm(setup.offset_mm) <= 20
        turn = RigidTransform.from_parameters(rotation_deg=setup.rotation_deg).rotation
        assert np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) <= 4.0 + 1e-6
