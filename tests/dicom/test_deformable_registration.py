"""Deformable Spatial Registration: the standard's equation, round trip, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from imrt_core.dicom import read_deformable_registration, write_deformable_registration
from imrt_core.patient import DisplacementField, Grid, IdentityError, InputRefusedError, PatientIdentity, RigidTransform

from .objects import day_image, edit, image
from .test_dciodvfy import validate

GRID = Grid((3, 4, 5), (3.0, 2.0, 2.5), (-10.0, 20.0, -30.0))


def field(grid: Grid = GRID, seed: int = 0) -> DisplacementField:
    vectors = np.random.default_rng(seed).normal(0.0, 5.0, (*grid.shape, 3))
    return DisplacementField(vectors.astype(np.float32), grid)


def write(path: Path, wanted: DisplacementField | None = None) -> Path:
    ct = image()
    return write_deformable_registration(wanted or field(), fixed=ct, moving=day_image(ct), path=path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "deformable.dcm")


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.floats(-40, 40)] * 3), st.integers(0, 99))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, angles: tuple[float, float, float], seed: int) -> None:
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    grid = Grid((3, 2, 4), (1.5, 2.0, 2.5), (0.1, -1 / 3, 7.0), tuple(map(tuple, turned)))  # type: ignore[arg-type]
    wanted = field(grid, seed)
    found = read_deformable_registration(write(tmp_path_factory.mktemp("field") / "d.dcm", wanted))
    assert found.moving_from_fixed.vectors_mm.tobytes() == wanted.vectors_mm.tobytes()
    assert found.moving_from_fixed.grid.shape == grid.shape
    np.testing.assert_allclose(found.moving_from_fixed.grid.lps_from_index, grid.lps_from_index, atol=1e-6)


def test_frames_and_patient(file: Path) -> None:
    ct = image()
    found = read_deformable_registration(file)
    assert found.fixed_frame_uid == ct.frame_of_reference_uid
    assert found.moving_frame_uid == day_image(ct).frame_of_reference_uid
    assert (found.patient, found.created) == (ct.patient, "2024-05-06T07:08:09")


def test_the_standard_s_own_equation(file: Path) -> None:
    """PS3.3 C.20.3.1.1, element by element: source = M_post (M_pre (start + i·row + j·column + k·depth) + vector)."""
    before = RigidTransform.from_parameters(translation_mm=(4.0, -2.0, 1.0), rotation_deg=(3.0, -5.0, 10.0))
    after = RigidTransform.from_parameters(translation_mm=(-1.0, 6.0, 2.0), rotation_deg=(-4.0, 2.0, 7.0))

    def with_matrices(ds: Dataset) -> None:
        for keyword, transform in (("Pre", before), ("Post", after)):
            item = Dataset()
            item.FrameOfReferenceTransformationMatrixType = "RIGID"
            item.FrameOfReferenceTransformationMatrix = [f"{v:.12g}" for v in transform.matrix.ravel()]
            setattr(ds.DeformableRegistrationSequence[0], f"{keyword}DeformationMatrixRegistrationSequence", [item])

    edit(file, with_matrices)
    found = read_deformable_registration(file).moving_from_fixed
    stored = pydicom.dcmread(file).DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    vectors = np.frombuffer(stored.VectorGridData, dtype="<f4")
    nx, ny, nz = stored.GridDimensions
    row, column = np.split(np.array(stored.ImageOrientationPatient, dtype=float), 2)
    for k, j, i in np.ndindex(nz, ny, nx):
        step = np.array(stored.GridResolution) * [i, j, k]
        point = np.array(stored.ImagePositionPatient, dtype=float)
        point = point + step[0] * row + step[1] * column + step[2] * np.cross(row, column)
        at = 3 * (i + nx * (j + ny * k))
        moved = (before.matrix @ [*point, 1.0])[:3] + vectors[at : at + 3]
        np.testing.assert_allclose(found.apply(point), (after.matrix @ [*moved, 1.0])[:3], atol=1e-4)


def _grid_item(ds: Dataset) -> Any:
    return ds.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]


def _set(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda ds: setattr(_grid_item(ds), keyword, value)


def _undefined(ds: Dataset) -> None:
    vectors = np.frombuffer(_grid_item(ds).VectorGridData, dtype="<f4").copy()
    vectors[3:6] = np.nan
    _grid_item(ds).VectorGridData = vectors.tobytes()


def _twice(ds: Dataset) -> None:
    ds.DeformableRegistrationSequence.append(ds.DeformableRegistrationSequence[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_undefined, "1 of 60 vectors are not finite"),
        (_set("GridDimensions", [5, 4, 4]), "found 720 bytes; expected 960 bytes"),
        (_set("GridDimensions", [60000, 60000, 60000]), "60000 x 60000 x 60000"),
        (_set("GridDimensions", [0, 4, 3]), "0 x 4 x 3"),
        (_set("GridResolution", [3.0, 0.0, 2.5]), "voxel spacing must be positive"),
        (_set("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]), "must be a rotation"),
        (_twice, "2 deformation grids"),
        (lambda ds: ds.DeformableRegistrationSequence.clear(), "0 deformation grids"),
        (lambda ds: delattr(_grid_item(ds), "VectorGridData"), "VectorGridData"),
    ],
)
def test_what_cannot_be_used_is_refused(file: Path, change: Callable[[Dataset], object], words: str) -> None:
    edit(file, change)
    with pytest.raises(InputRefusedError) as caught:
        read_deformable_registration(file)
    assert words in str(caught.value)


def test_the_frame_that_is_asked_for(file: Path) -> None:
    frame = day_image(image()).frame_of_reference_uid
    assert read_deformable_registration(file, moving_frame_uid=frame).moving_frame_uid == frame
    with pytest.raises(IdentityError, match=r"expected 1\.9"):
        read_deformable_registration(file, moving_frame_uid="1.9")


def test_images_of_different_patients_are_not_registered(tmp_path: Path) -> None:
    ct = image()
    day = replace(day_image(ct), patient=PatientIdentity("ID2"))
    with pytest.raises(IdentityError, match="found ID2; expected ID1"):
        write_deformable_registration(field(), fixed=ct, moving=day, path=tmp_path / "d.dcm")
    assert not list(tmp_path.iterdir())


@pytest.mark.service
def test_what_is_written_passes_the_validator(file: Path) -> None:
    validate(file)
