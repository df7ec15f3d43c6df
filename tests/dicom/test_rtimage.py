from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from imrt_core.dicom import read_radiograph, write_dose, write_radiograph
from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import DicomError, InputRefusedError

from .objects import dose, edit, having, image, lacking

VIEW = ProjectionView.from_iec(
    gantry_deg=30.0, patient_position="HFP", shape=(20, 30), spacing_mm=(0.7, 0.8), table_deg=350.0,
    receptor_mm=(3.0, -4.0), receptor_deg=12.0, first_pixel_mm=(-5.0, 6.0),
)  # fmt: skip


def radiograph(view: ProjectionView = VIEW, **changes: object) -> Radiograph:
    values = np.random.default_rng(0).uniform(0.1, 6.0, view.shape).astype(np.float32)
    made = Radiograph(view, values, image().patient, label="AP", isocentre_lps=(1.0, 2.0, 3.0))
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_radiograph(radiograph(), image=image(), path=tmp_path / "ri.dcm")


def same_place(one: ProjectionView, other: ProjectionView) -> None:
    assert one.shape == other.shape
    assert one.patient_position == other.patient_position
    np.testing.assert_allclose(one.source_lps, other.source_lps, atol=1e-6)
    np.testing.assert_allclose(one.pixel_centres_lps(), other.pixel_centres_lps(), atol=1e-5)


def test_round_trip(file: Path) -> None:
    found, written = read_radiograph(file), radiograph()
    same_place(found.view, written.view)
    np.testing.assert_allclose(found.attenuation, written.attenuation, atol=6 / 65535)
    assert found.patient == written.patient
    assert found.label == "AP"
    assert found.isocentre_lps == written.isocentre_lps
    assert found.frame_of_reference_uid == image().frame_of_reference_uid
    assert found.acquired == image().acquired


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gantry=st.floats(-180, 360),
    table=st.floats(-180, 180),
    turned=st.floats(-180, 180),
    offset=st.tuples(st.floats(-200, 200), st.floats(-200, 200)),
    first=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    sid=st.floats(900, 1800),
    position=st.sampled_from(["HFS", "HFP", "FFS", "FFP"]),
)
def test_round_trip_of_any_geometry(
    tmp_path: Path,
    gantry: float,
    table: float,
    turned: float,
    offset: tuple[float, float],
    first: tuple[float, float],
    sid: float,
    position: str,
) -> None:
    view = ProjectionView.from_iec(
        gantry_deg=gantry, patient_position=position, shape=(4, 5), spacing_mm=(1.1, 0.9), table_deg=table, sid_mm=sid,
        receptor_mm=offset, receptor_deg=turned, first_pixel_mm=first,
    )  # fmt: skip
    file = write_radiograph(radiograph(view), image=image(), path=tmp_path / "any.dcm")
    same_place(read_radiograph(file).view, view)


def test_same_input_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    assert write_radiograph(radiograph(), image=image(), path=tmp_path / "b.dcm").read_bytes() == file.read_bytes()


def test_without_an_isocentre_it_is_a_frame_of_the_day(tmp_path: Path) -> None:
    file = write_radiograph(radiograph(isocentre_lps=None), image=image(), path=tmp_path / "ri.dcm", kind="RADIOGRAPH")
    found = read_radiograph(file)
    assert found.isocentre_lps == (0.0, 0.0, 0.0)
    assert found.frame_of_reference_uid not in ("", image().frame_of_reference_uid)
    named = write_radiograph(
        radiograph(isocentre_lps=None, frame_of_reference_uid="1.2.9"), image=image(), path=tmp_path / "n.dcm"
    )
    assert read_radiograph(named).frame_of_reference_uid == "1.2.9"


def test_it_says_that_it_is_research(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    assert dataset.RTImageDescription == "Research software, not a medical device."
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "DRR"]


def _varian(ds: Dataset) -> None:
    """As a linac's imager writes it: receptor off the axis, pixel position from its middle, no orientation."""
    ds.XRayImageReceptorTranslation = [-0.585, 0.979, -500]
    ds.XRayImageReceptorAngle = 0
    ds.RTImagePosition = [-200.312, 150.136]
    ds.ImagePlanePixelSpacing = [0.784, 0.784]
    ds.GantryAngle = 0
    ds.PatientSupportAngle = 0
    ds.PatientPosition = "HFS"
    del ds.RTImageOrientation


def test_a_receptor_off_the_axis(file: Path) -> None:
    edit(file, _varian)
    view = read_radiograph(file).view
    # HFS, gantry 0, image plane 500 mm below the isocentre: left of the patient is right, superior is up.
    np.testing.assert_allclose(view.origin_lps, [-0.585 - 200.312, 500.0, 0.979 + 150.136], atol=1e-9)
    np.testing.assert_allclose(view.axes_lps, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(view.source_lps, [0, -1000, 0], atol=1e-9)


def test_intensities_become_attenuation(file: Path) -> None:
    stored = pydicom.dcmread(file).pixel_array.astype(float)
    as_stored = having(RescaleSlope="1", RescaleIntercept="0", PixelIntensityRelationship="LIN")
    edit(file, as_stored)
    edit(file, having(PixelIntensityRelationshipSign=1))
    bright = read_radiograph(file).attenuation
    np.testing.assert_allclose(bright, -np.log(np.maximum(stored, np.percentile(stored, 99) * 1e-5)), rtol=1e-5)
    # Inverted pixels: already growing with attenuation.
    edit(file, having(PixelIntensityRelationshipSign=-1))
    np.testing.assert_allclose(read_radiograph(file).attenuation, stored)
    # A falling rescale turns the meaning round again.
    edit(file, having(RescaleSlope="-2", RescaleIntercept="200000"))
    np.testing.assert_allclose(read_radiograph(file).attenuation, -np.log(200000 - 2 * stored), rtol=1e-5)
    edit(file, having(PixelIntensityRelationshipSign=1, PixelIntensityRelationship="LOG", RescaleSlope="1"))
    np.testing.assert_allclose(read_radiograph(file).attenuation, -(stored + 200000))


def test_options_say_what_the_file_does_not(file: Path) -> None:
    edit(file, lacking("PatientPosition", "PatientSupportAngle", "PixelIntensityRelationshipSign"))
    found = read_radiograph(file, patient_position="HFP", table_deg=350.0, pixels="attenuation")
    same_place(found.view, VIEW)
    np.testing.assert_allclose(found.attenuation, radiograph().attenuation, atol=6 / 65535)


def test_a_source_on_an_arm_of_its_own(file: Path) -> None:
    edit(file, having(GantryAngle=300.0))
    found = read_radiograph(file, source_offset_deg=90.0)
    same_place(found.view, VIEW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (having(RTImagePlane="NON_NORMAL"), "found NON_NORMAL; expected NORMAL"),
        (having(RTImageOrientation=[1, 0, 0, 0, 1, 0]), r"found 1\0\0\0\1\0; expected 1\0\0\0\-1\0"),
        (having(XRayImageReceptorTranslation=[0, 0, 500]), "found z 500 mm with SAD 1000 and SID 1500 mm"),
        (having(GantryPitchAngle=3.0), "GantryPitchAngle is not supported; found 3°"),
        (having(TableTopEccentricAngle=5.0), "TableTopEccentricAngle is not supported; found 5°"),
        (lacking("GantryAngle"), "lacks GantryAngle"),
        (lacking("RTImageSID"), "lacks RTImageSID"),
        (lacking("RadiationMachineSAD"), "lacks RadiationMachineSAD"),
        (lacking("ImagePlanePixelSpacing"), "lacks ImagePlanePixelSpacing"),
        (lacking("RTImagePosition"), "lacks RTImagePosition"),
        (lacking("RTImagePlane"), "lacks RTImagePlane"),
        (lacking("PatientPosition"), "does not say how the patient lies"),
        (having(PatientPosition="HFDL"), "found HFDL; expected HFS"),
        (lacking("PatientSupportAngle"), "does not say how the table stands"),
        (lacking("PixelIntensityRelationshipSign"), "does not say how its pixels depend on the beam"),
        (having(PixelIntensityRelationshipSign=3), "found 3; expected 1 or -1"),
        (having(RescaleSlope="0"), "rescale slope of zero"),
        (having(NumberOfFrames=2), "found 2; expected one frame"),
        (having(ImagePlanePixelSpacing=[0, 1]), "must be positive"),
        (having(RTImageSID="-10", XRayImageReceptorTranslation=[0, 0, 1010]), "must be positive"),
        (having(PixelData=b"\0" * 100), "found 100 bytes"),
        (
            having(PixelData=b"\0" * 1200, PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1,
                   RescaleIntercept="0"),
            "black",
        ),
    ],
)  # fmt: skip
def test_images_that_cannot_be_used(file: Path, change: Callable[..., None], words: str) -> None:
    edit(file, change)
    with pytest.raises(InputRefusedError) as caught:
        read_radiograph(file)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patient_position": "HFS"}, "found HFP; expected HFS"),
        ({"table_deg": 0.0}, "found 350°; expected 0°"),
        ({"pixels": "intensity"}, "found sign -1; expected intensity"),
        ({"pixels": "shade"}, "expected intensity or attenuation"),
    ],
)
def test_contradictions_are_refused(file: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_radiograph(file, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    # The same angle said otherwise is no contradiction.
    assert read_radiograph(file, table_deg=-10.0).view.table_deg == 350.0


def test_other_objects_are_refused(tmp_path: Path) -> None:
    file = write_dose(dose(image()), image=image(), path=tmp_path / "rd.dcm")
    with pytest.raises(DicomError, match="found RT Dose Storage; expected RT Image Storage"):
        read_radiograph(file)


def test_every_truncation_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for size in (*range(0, len(whole), 157), len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(InputRefusedError):
            read_radiograph(file)


def test_writing_is_strict(tmp_path: Path) -> None:
    path, ct = tmp_path / "ri.dcm", image()
    with pytest.raises(DicomError, match="found PORTAL"):
        write_radiograph(radiograph(), image=ct, path=path, kind="PORTAL")
    with pytest.raises(DicomError, match="finite"):
        partly = np.where(np.eye(*VIEW.shape), 1.0, np.nan).astype(np.float32)
        write_radiograph(radiograph(attenuation=partly), image=ct, path=path)
    with pytest.raises(DicomError, match="too long"):
        write_radiograph(radiograph(label="a label of more than 16"), image=ct, path=path)
    tilted = replace(VIEW, origin_mm=tuple(np.add(VIEW.origin_mm, (0, 0, 30.0))))
    with pytest.raises(DicomError, match="not normal"):
        write_radiograph(radiograph(tilted), image=ct, path=path)
    assert not list(tmp_path.iterdir())
