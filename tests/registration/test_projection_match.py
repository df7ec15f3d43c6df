"""From files to couch: a patient of balls, on a simulated table, radiographed by formulas written down here.

Nothing of the project makes these images: positions in the room, projection, chords and the DICOM attributes are
spelled out, so that a wrong sign in one convention cannot cancel in another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy.spatial.transform import Rotation

from imrt_core.dicom import read_radiograph
from imrt_core.geometry.radiograph import Radiograph
from imrt_core.patient import Grid, RegistrationError, RigidTransform, Volume
from registration import couch_shift, register_radiographs
from registration.couch import CouchShift
from registration.projection import ProjectionMatch

from .test_couch import ROOM, drive_table

Points = NDArray[np.float64]

ISOCENTRE = np.array([12.0, -35.0, 48.0])
BODY_MM = np.array([75.0, 95.0, 400.0])  # half axes: so long that the CT cuts it
#: Patient's left, posterior, superior of the isocentre, and radius: no two planes of symmetry.
BALLS = np.array(
    [
        (0, 45, -50, 16), (3, 44, -18, 15), (-2, 46, 14, 15), (4, 43, 46, 14), (40, -30, 40, 12), (-35, -45, 20, 15),
        (30, -50, -35, 10), (-45, 10, -30, 11), (50, 20, 5, 9), (-20, -60, -10, 8), (10, -10, 55, 13), (-50, 0, 45, 9),
    ],
    dtype=float,
)  # fmt: skip
WATER, BONE = 0.02059, 0.0432  # per mm at 60 keV: 0 HU, and 900 HU
SAD, SID, PIXEL, SHAPE = 1000.0, 1500.0, 3.0, (100, 120)


def planning_ct() -> Volume:
    grid = Grid((52, 64, 52), (3.0, 3.2, 3.0), tuple(ISOCENTRE - [76.5, 100.8, 76.5]))
    p = grid.voxel_centres_lps() - ISOCENTRE
    size = np.sqrt(np.sum((p / BODY_MM) ** 2, axis=-1))
    inside = np.clip((1 - size) * 80 / 3.0 + 0.5, 0, 1)
    hu = -1000 + 1000 * inside
    for *centre, radius in BALLS:
        distance = radius - np.linalg.norm(p - np.array(centre), axis=-1)
        share = np.clip(distance / 3.0 + 0.5, 0, 1)
        hu = hu * (1 - share) + 900 * share
    return Volume(hu.astype(np.float32), grid)


def in_the_room(points: Points, position: str, table_deg: float, shift: CouchShift) -> Points:
    """Where points (from the isocentre, LPS) lie before the table makes the shift that would bring them home."""
    home = sum(points[:, k : k + 1] * np.array(ROOM[position][n], float) for k, n in enumerate(ROOM[position]))
    home = Rotation.from_euler("z", table_deg, degrees=True).apply(home)
    turn = drive_table(np.eye(3), replace(shift, vertical_mm=0, longitudinal_mm=0, lateral_mm=0), table_deg).T
    move = drive_table(np.zeros((1, 3)), shift, table_deg)[0]
    return np.asarray((home - move) @ turn)  # home = turn · before + move


def chords(source: Points, ends: Points, centres: Points, half: Points, axes: Points) -> Points:
    """Lengths of rays within one ellipsoid, given its axes as rows."""
    a = (source - centres) @ axes.T / half
    d = (ends - source) @ axes.T / half
    aa, ad, dd = a @ a - 1, d @ a, np.sum(d * d, axis=-1)
    root = ad**2 - aa * dd
    return np.where(root > 0, 2 * np.sqrt(np.maximum(root, 0)) / dd, 0) * np.linalg.norm(ends - source, axis=-1)


def take_image(
    path: Path, gantry_deg: float, position: str, table_deg: float, shift: CouchShift, *, label: str = ""
) -> Path:
    g = np.deg2rad(gantry_deg)
    back, right, up = np.array([np.sin(g), 0, np.cos(g)]), np.array([np.cos(g), 0, -np.sin(g)]), np.array([0, 1.0, 0])
    first = np.array([-(SHAPE[1] - 1) / 2 * PIXEL + 4.0, (SHAPE[0] - 1) / 2 * PIXEL - 2.0])
    x = first[0] + PIXEL * np.arange(SHAPE[1])
    y = first[1] - PIXEL * np.arange(SHAPE[0])
    pixels = (SAD - SID) * back + y[:, None, None] * up + x[None, :, None] * right
    source = SAD * back
    frame = in_the_room(np.concatenate([np.zeros((1, 3)), np.eye(3)]), position, table_deg, shift)
    axes = frame[1:] - frame[0]
    attenuation = WATER * chords(source, pixels, frame[0], BODY_MM, axes)
    for centre, radius in zip(in_the_room(BALLS[:, :3], position, table_deg, shift), BALLS[:, 3], strict=True):
        attenuation += (BONE - WATER) * chords(source, pixels, centre, np.full(3, radius), np.eye(3))
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = (
        "1.2.840.10008.5.1.4.1.1.481.1",
        f"1.2.3.{gantry_deg:.0f}",
        "RTIMAGE",
    )
    ds.PatientID, ds.RTImageLabel = "P1", label or f"kV {gantry_deg:.0f}"
    ds.RTImagePlane, ds.XRayImageReceptorTranslation, ds.XRayImageReceptorAngle = "NORMAL", [0, 0, SAD - SID], 0
    ds.ImagePlanePixelSpacing, ds.RTImagePosition = [PIXEL, PIXEL], [first[0], first[1]]
    ds.RadiationMachineSAD, ds.RTImageSID = SAD, SID
    ds.GantryAngle, ds.PatientSupportAngle, ds.PatientPosition = gantry_deg, table_deg, position
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = SHAPE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = np.rint(60000 * np.exp(-attenuation)).astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def images(
    folder: Path, gantries: tuple[float, ...], position: str, table: float, shift: CouchShift
) -> list[Radiograph]:
    return [read_radiograph(take_image(folder / f"{n}.dcm", g, position, table, shift)) for n, g in enumerate(gantries)]


def shift_of(match: ProjectionMatch, position: str) -> CouchShift:
    return couch_shift(
        match.moving_from_fixed,
        planned_isocentre_lps=ISOCENTRE,
        machine_isocentre_lps=(0, 0, 0),
        patient_position=position,
    )


WANTED = CouchShift(6.0, -11.0, 14.0, 2.0, -1.5, 2.5)


@pytest.fixture(scope="module")
def ct() -> Volume:
    return planning_ct()


@pytest.mark.parametrize(
    ("position", "gantries", "table"),
    [
        ("HFS", (0.0, 90.0), 0.0),
        ("HFP", (0.0, 270.0), 0.0),
        ("FFS", (30.0, 120.0), 0.0),
        ("FFP", (180.0, 250.0), 0.0),
        ("HFS", (315.0, 45.0), 25.0),
        ("FFP", (0.0, 90.0), 340.0),
    ],
)
def test_the_table_brings_the_patient_home(
    tmp_path: Path, ct: Volume, position: str, gantries: tuple[float, float], table: float
) -> None:
    match = register_radiographs(ct, images(tmp_path, gantries, position, table, WANTED), isocentre_lps=ISOCENTRE)
    found = shift_of(match, position)
    np.testing.assert_allclose(found.shift_mm, WANTED.shift_mm, atol=0.3)
    np.testing.assert_allclose(found.rotation_deg, WANTED.rotation_deg, atol=0.3)
    assert match.quality.passed, match.quality.reasons
    assert (match.freedom, match.degrees_of_freedom) == ("rigid", 6)
    # All the way: landmarks in the room end where they were planned.
    points = np.array([[0, 0, 0], [60, 0, 0], [0, -60, 0], [0, 0, 60.0]])
    ends = drive_table(in_the_room(points, position, table, WANTED), found, table)
    np.testing.assert_allclose(ends, in_the_room(points, position, table, CouchShift()), atol=0.5)


def test_without_an_isocentre_the_search_is_wide(tmp_path: Path, ct: Volume) -> None:
    far = CouchShift(-40.0, 25.0, 35.0)
    match = register_radiographs(ct, images(tmp_path, (0.0, 90.0), "HFS", 0.0, far))
    np.testing.assert_allclose(shift_of(match, "HFS").shift_mm, far.shift_mm, atol=0.4)


def test_translation_only(tmp_path: Path, ct: Volume) -> None:
    only = CouchShift(6.0, -11.0, 14.0)
    match = register_radiographs(
        ct, images(tmp_path, (0.0, 90.0), "HFS", 0.0, only), isocentre_lps=ISOCENTRE, translation_only=True
    )
    assert (match.freedom, match.degrees_of_freedom) == ("translation", 3)
    assert match.rotation_deg == pytest.approx((0, 0, 0), abs=1e-9)
    np.testing.assert_allclose(shift_of(match, "HFS").shift_mm, only.shift_mm, atol=0.3)


def test_one_image_tells_what_lies_in_its_plane(tmp_path: Path, ct: Volume) -> None:
    # From above: longitudinal, lateral and yaw are seen, height is not.
    seen = CouchShift(0.0, -11.0, 14.0, 0.0, 0.0, 3.0)
    match = register_radiographs(ct, images(tmp_path, (0.0,), "HFS", 0.0, seen), isocentre_lps=ISOCENTRE)
    assert (match.freedom, match.degrees_of_freedom) == ("in-plane", 3)
    assert not match.depth_is_told
    found = shift_of(match, "HFS")
    np.testing.assert_allclose(found.shift_mm, seen.shift_mm, atol=0.3)
    np.testing.assert_allclose(found.rotation_deg, seen.rotation_deg, atol=0.3)
    # What is not told stays exactly where it was.
    assert match.moving_from_fixed.apply(ISOCENTRE)[1] == pytest.approx(0.0, abs=1e-6)
    high = register_radiographs(
        ct, images(tmp_path, (0.0,), "HFS", 0.0, replace(seen, vertical_mm=20.0)), isocentre_lps=ISOCENTRE
    )
    assert high.moving_from_fixed.apply(ISOCENTRE)[1] == pytest.approx(0.0, abs=1e-6)


def test_images_of_something_else_fail(tmp_path: Path, ct: Volume) -> None:
    """A mirrored patient, and images with each other's angle: neither may pass."""
    good = images(tmp_path, (0.0, 90.0), "HFS", 0.0, WANTED)
    mirrored = [replace(image, attenuation=image.attenuation[:, ::-1]) for image in good]
    swapped = [replace(good[0], attenuation=good[1].attenuation), replace(good[1], attenuation=good[0].attenuation)]
    for wrong in (mirrored, swapped):
        quality = register_radiographs(ct, wrong, isocentre_lps=ISOCENTRE).quality
        assert not quality.passed
        assert len(quality.reasons) >= 2


def test_a_patient_who_moves_between_the_images_is_noticed(tmp_path: Path, ct: Volume) -> None:
    first = images(tmp_path, (0.0,), "HFS", 0.0, WANTED)
    second = images(tmp_path, (90.0,), "HFS", 0.0, replace(WANTED, longitudinal_mm=-14.0))
    quality = register_radiographs(ct, first + second, isocentre_lps=ISOCENTRE).quality
    assert not quality.passed
    assert any("disagrees with the other views" in reason for reason in quality.reasons)


def test_what_cannot_be_matched_is_refused(tmp_path: Path, ct: Volume) -> None:
    one, other = images(tmp_path, (0.0, 20.0), "HFS", 0.0, WANTED)
    with pytest.raises(RegistrationError, match=r"same direction.*20\.0° apart"):
        register_radiographs(ct, [one, other])
    with pytest.raises(RegistrationError, match="no radiograph"):
        register_radiographs(ct, [])
    prone = replace(other, view=replace(other.view, patient_position="HFP"))
    with pytest.raises(RegistrationError, match="HFP HFS"):
        register_radiographs(ct, [one, prone])
    with pytest.raises(RegistrationError, match="radiograph is empty"):
        register_radiographs(ct, [replace(one, attenuation=np.ones(SHAPE, np.float32))])
    with pytest.raises(RegistrationError, match="too small"):
        register_radiographs(ct, [Radiograph(one.view.binned(10), one.attenuation[::10, ::10])])
    with pytest.raises(RegistrationError, match="three finite numbers"):
        register_radiographs(ct, [one], isocentre_lps=(0, np.nan, 0))
    with pytest.raises(RegistrationError, match="no patient"):
        register_radiographs(ct.with_array(ct.array * 0.001 - 1000), [one])


def test_the_result_does_not_depend_on_threads(tmp_path: Path, ct: Volume, all_threads: int) -> None:
    import numba

    pair = images(tmp_path, (0.0, 90.0), "HFS", 0.0, WANTED)
    many = register_radiographs(ct, pair, isocentre_lps=ISOCENTRE).moving_from_fixed
    numba.set_num_threads(1)
    assert register_radiographs(ct, pair, isocentre_lps=ISOCENTRE).moving_from_fixed == many
    assert isinstance(many, RigidTransform)
