"""Files and geometry through SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from imrt_core.patient import DisplacementField, GeometryError, Grid, InputRefusedError, RigidTransform, Volume
from registration import itk, warp

TURN = RigidTransform.from_parameters(translation_mm=(12, -7, 3), rotation_deg=(3, -4, 10), centre_lps=(20, 30, -10))
OBLIQUE = Grid((4, 5, 6), (1.5, 2.0, 3.0), (10, -20, 30), direction=tuple(map(tuple, TURN.rotation)))  # type: ignore[arg-type]


def numbers(grid: Grid) -> Volume:
    return Volume(np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape), grid)


@pytest.mark.parametrize("suffix", itk.VOLUME_SUFFIXES)
def test_a_volume_comes_back(tmp_path: Path, suffix: str) -> None:
    volume = numbers(OBLIQUE)
    again = itk.read_volume(itk.write_volume(volume, tmp_path / f"v{suffix}"))
    npt.assert_array_equal(again.array, volume.array)
    # NIfTI keeps its geometry in single precision.
    assert again.grid.matches(volume.grid, tolerance_mm=1e-3 if "nii" in suffix else 1e-9)
    assert [p.name for p in tmp_path.iterdir()] == [f"v{suffix}"]


def test_a_mask_comes_back(tmp_path: Path) -> None:
    volume = numbers(OBLIQUE)
    again = itk.read_volume(itk.write_volume(volume.with_array(volume.array > 50), tmp_path / "m.nrrd"))
    npt.assert_array_equal(again.array.astype(bool), volume.array > 50)


def test_points_of_space_keep_their_values_when_a_left_handed_file_is_flipped(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32))
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((10, -20, 30))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "left.nrrd"))
    volume = itk.read_volume(tmp_path / "left.nrrd")
    assert np.linalg.det(np.asarray(volume.grid.direction)) == pytest.approx(1)
    for index in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        point = image.TransformIndexToPhysicalPoint(index)
        assert volume.sample(point) == pytest.approx(image.GetPixel(index))


def test_fields_map_points_as_itk_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    field = DisplacementField(rng.normal(size=(*OBLIQUE.shape, 3)).astype(np.float32), OBLIQUE)
    path = itk.write_field(field, tmp_path / "f.mha")
    again = itk.read_field(path)
    npt.assert_array_equal(again.vectors_mm, field.vectors_mm)
    transform = sitk.DisplacementFieldTransform(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkVectorFloat64))
    point = OBLIQUE.to_lps([2.3, 1.6, 1.2])
    npt.assert_allclose(field.apply(point), transform.TransformPoint(point.tolist()), atol=1e-5)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (100.0, -50.0, 700.0)])
def test_transforms_come_back_whatever_the_centre(tmp_path: Path, centre: tuple[float, float, float]) -> None:
    path = itk.write_transform(TURN, tmp_path / "t.tfm", centre_lps=centre)
    npt.assert_allclose(itk.read_transform(path).matrix, TURN.matrix, atol=1e-9)
    npt.assert_allclose(sitk.ReadTransform(str(path)).TransformPoint((5, 6, 7)), TURN.apply([5, 6, 7]), atol=1e-9)


def test_our_warp_is_itks_resample() -> None:
    rng = np.random.default_rng(2)
    volume = Volume(rng.normal(size=(9, 10, 11)).astype(np.float32), Grid((9, 10, 11), (3, 3, 3), (-10, -15, 5)))
    like = Grid((8, 8, 8), (2.5, 2.5, 2.5), (-15, -2, 0))
    euler = sitk.Euler3DTransform()
    euler.SetMatrix(TURN.rotation.ravel().tolist())
    euler.SetTranslation(TURN.apply([0, 0, 0]).tolist())
    reference = itk.to_itk(Volume(np.zeros(like.shape, np.float32), like))
    expected = sitk.GetArrayFromImage(sitk.Resample(itk.to_itk(volume), reference, euler, sitk.sitkLinear, -5.0))
    found = warp(volume, TURN, like=like, outside=-5.0).array
    npt.assert_allclose(found, expected, atol=1e-4)
    field = DisplacementField.from_rigid(TURN, like)
    npt.assert_allclose(warp(volume, field, like=like, outside=-5.0).array, expected, atol=1e-3)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    (tmp_path / "words.tfm").write_text("not a transform")
    (tmp_path / "scan.dcm").write_bytes(b"DICM")
    for name, message in (
        ("absent.mha", "no such file"),
        ("broken.mha", "cannot be read"),
        ("scan.dcm", "not used here"),
    ):
        with pytest.raises(InputRefusedError, match=message) as caught:
            itk.read_volume(tmp_path / name)
        assert name in caught.value.where
    with pytest.raises(InputRefusedError, match="cannot be read"):
        itk.read_transform(tmp_path / "words.tfm")
    with pytest.raises(InputRefusedError, match="not written here"):
        itk.write_volume(numbers(OBLIQUE), tmp_path / "v.dcm")
    plane = sitk.GetImageFromArray(np.zeros((4, 4), np.float32))
    sitk.WriteImage(plane, str(tmp_path / "plane.mha"))
    with pytest.raises(InputRefusedError, match="three-dimensional"):
        itk.read_volume(tmp_path / "plane.mha")
    itk.write_volume(numbers(OBLIQUE), tmp_path / "v.mha")
    with pytest.raises(InputRefusedError, match="not a displacement field"):
        itk.read_field(tmp_path / "v.mha")
    affine = sitk.AffineTransform(3)
    affine.Scale(1.1)
    sitk.WriteTransform(affine, str(tmp_path / "scale.tfm"))
    with pytest.raises(GeometryError, match="not rigid"):
        itk.read_transform(tmp_path / "scale.tfm")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        itk.write_volume(numbers(OBLIQUE), tmp_path / "no" / "v.mha")
    assert not list(tmp_path.iterdir())


def test_thread_count_is_put_back() -> None:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    with itk.threads(1):
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before
