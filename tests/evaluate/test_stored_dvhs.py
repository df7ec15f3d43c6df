"""Our DVHs against those that Eclipse and CERR stored for real patients."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks.eclipse_data import Figures, read_set, read_table, structure_key
from benchmarks.eclipse_ent import disagreements, explain, figures, interpolated, write_dicom
from imrt_core.dicom import read_course, read_dose, read_plan, read_structures
from imrt_core.evaluate import dvh, gamma
from imrt_core.patient import StructureSet, Volume
from registration.itk import read_volume

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "slicerrt_eclipse_ent"


@pytest.fixture(scope="module")
def ent(folder: Path) -> tuple[StructureSet, Volume]:
    return read_set(folder)


@pytest.fixture(scope="module")
def ours(ent) -> dict[str, Figures]:
    structures, dose_gy = ent
    return {structure.name: figures(structure, dose_gy) for structure in structures}


def test_set_is_read_whole(ent, folder):
    structures, dose_gy = ent
    assert len(structures) == 16
    assert structures["GTV"].is_target
    assert structures.external() is structures["BODY"]
    assert float(dose_gy.array.max()) == pytest.approx(62.61, abs=0.01)
    # The patient's right eye is at negative x in LPS.
    assert structures["Orbit - right"].contours[0].points_lps[:, 0].max() < 0
    assert {structure_key(s.name) for s in structures} == set(read_table(folder / "EclipseEnt_DvhTable_Eclipse.csv"))


def test_cerr_agrees_in_every_structure_of_2_cc_and_more(ours, folder):
    """CERR extends structures half a slice as we do: no exception, and the mean within 0.035 Gy."""
    cerr = read_table(folder / "EclipseEnt_DvhTable_CERR.csv", shift_gy=0.1)
    judged = {name: cerr[structure_key(name)] for name in ours if cerr[structure_key(name)].volume_cc >= 2}
    assert len(judged) == 11
    for name, theirs in judged.items():
        assert disagreements(ours[name], theirs) == (), name
        assert ours[name].mean_gy == pytest.approx(theirs.mean_gy, abs=0.035), name
        assert ours[name].volume_cc == pytest.approx(theirs.volume_cc, rel=0.012), name


def test_eclipse_agrees_but_for_the_named_exceptions(ent, ours, folder):
    """Tolerances of issue 2; each exception is explained by the end slices, where CERR is on our side."""
    structures, dose_gy = ent
    eclipse = read_table(folder / "EclipseEnt_DvhTable_Eclipse.csv")
    cerr = read_table(folder / "EclipseEnt_DvhTable_CERR.csv", shift_gy=0.1)
    exceptions = {}
    for structure in structures:
        key = structure_key(structure.name)
        wrong = disagreements(ours[structure.name], eclipse[key])
        if eclipse[key].volume_cc >= 2 and wrong:
            exceptions[structure.name] = wrong
            other_way = figures(interpolated(structure), dose_gy)
            cause = explain(wrong, ours[structure.name], other_way, eclipse[key], cerr[key])
            assert "unexplained" not in cause, structure.name
            assert "CERR agrees with us" in cause, structure.name
    assert exceptions == {
        "CTV": ("volume",),
        "BRSTEM": ("volume", "mean"),
        "GTV": ("volume",),
        "optOptic": ("volume", "mean"),
    }


def test_set_survives_dicom(ent, tmp_path):
    structures, dose_gy = ent
    some = StructureSet(tuple(structures[name] for name in ("BODY", "GTV", "PTV1", "optOptic")))
    write_dicom(some, dose_gy, tmp_path)
    course = read_course(tmp_path)
    assert course.course_dose is not None
    assert read_dose(tmp_path / "rtdose.dcm").summation_type == "PLAN"
    for name in ("GTV", "PTV1", "optOptic"):
        before = dvh(some[name], dose_gy)
        after = dvh(course.structures[name], course.course_dose.dose_gy)
        assert after.volume_cc == pytest.approx(before.volume_cc, rel=1e-4)
        assert after.mean_gy == pytest.approx(before.mean_gy, abs=1e-3)
        assert after.metric("D95%[Gy]") == pytest.approx(before.metric("D95%[Gy]"), abs=5e-3)


def test_gamma_against_the_stored_gamma_of_two_days(folder):
    """SlicerRT's baseline is 3 %/3 mm of the maximum of day 1, cut off at 10 %, capped at 2, at voxel centres only.

    Searched at voxel centres it is reproduced to 10⁻⁶, so the conventions are the same; ours, which also searches
    between them, is never larger and marks the same points.
    """
    one, two = (read_volume(folder / f"EclipseEnt_Dose{day}.nrrd") for day in ("", "_Day2"))
    baseline = read_volume(folder / "GammaVolume_EclipseEnt_Day1Day2_Baseline.nrrd").array
    highest = float(one.array.max())
    hottest = int(np.argmax(one.array.max(axis=(1, 2))))
    part = slice(hottest - 6, hottest + 6)
    grid = one.grid.cropped((0, 0, part.start), (*one.grid.shape[:0:-1], part.stop))
    result = gamma(Volume(one.array[part], grid), two, dose_percent=3, distance_mm=3, cutoff_percent=10, max_gamma=2)
    judged = np.isfinite(result.gamma.array)
    theirs = baseline[part]
    assert np.array_equal(judged, one.array[part] >= np.float32(0.1 * highest))
    assert np.all(theirs[~judged] == 0)

    squares = np.full(theirs.shape, np.inf)
    padded = np.pad(two.array.astype(float), 2, constant_values=np.inf)
    for dk, dj, di in itertools.product(range(-2, 3), repeat=3):
        nz, ny, nx = two.array.shape
        moved = padded[2 + dk : 2 + dk + nz, 2 + dj : 2 + dj + ny, 2 + di : 2 + di + nx][part]
        distance = 2.5**2 * (dk**2 + dj**2 + di**2) / 3.0**2
        squares = np.minimum(squares, distance + ((moved - one.array[part]) / (0.03 * highest)) ** 2)
    at_centres = np.minimum(np.sqrt(squares), 2)
    assert np.allclose(at_centres[judged], theirs[judged], atol=1e-6)
    # Our lattice of 0.3 mm passes the neighbours' centres at up to 0.15 mm along each axis.
    assert np.all(result.gamma.array[judged] <= theirs[judged] + 0.09)
    assert np.mean(result.gamma.array[judged]) < np.mean(theirs[judged])


#: Stored volume and ours differ by more than 1 % and 0.5 cc in the block of the tumour bed alone (end slices).
_BREAST_VOLUME_EXCEPTIONS = {"Tumor Bed Block"}


def test_breast_set_with_its_nine_stored_dvhs(shared_data):
    """Eclipse stores V at bin centres, and minimum, mean and maximum in percent of the prescription."""
    folder = shared_data / "dicom_breast_imrt"
    structures, dose_gy = read_structures(folder / "rtss.dcm"), read_dose(folder / "rtdose.dcm").dose_gy
    ((_, prescription_gy),) = read_plan(folder / "rtplan.dcm").prescription_gy
    assert prescription_gy == 14.0
    by_number = {s.number: s for s in structures}
    stored = pydicom.dcmread(folder / "rtdose.dcm").DVHSequence
    assert len(stored) == 9
    exceptions = set()
    for item in stored:
        structure = by_number[int(item.DVHReferencedROISequence[0].ReferencedROINumber)]
        widths, volume = np.array(item.DVHData, dtype=float).reshape(-1, 2).T
        dose = np.cumsum(widths) - widths / 2
        if volume[0] < 2:
            continue
        ours = dvh(structure, dose_gy)
        assert ours.mean_gy == pytest.approx(float(item.DVHMeanDose) / 100 * prescription_gy, abs=0.1)
        d95 = float(np.interp(-0.95 * volume[0], -volume, dose))
        assert ours.metric("D95%[Gy]") == pytest.approx(d95, abs=0.2)
        assert ours.max_gy == pytest.approx(float(item.DVHMaximumDose) / 100 * prescription_gy, rel=0.05)
        # The first value is the volume above half a bin, 5 mGy.
        above = ours.volume_at_dose_cc(float(dose[0]))
        if abs(above - volume[0]) > max(0.5, 0.01 * volume[0]):
            exceptions.add(structure.name)
    assert exceptions == _BREAST_VOLUME_EXCEPTIONS
