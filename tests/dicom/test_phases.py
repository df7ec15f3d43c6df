"""Phases of a 4DCT: found by what scanners write, put in the order of the cycle, and refused where that is unclear."""

from __future__ import annotations

from pathlib import Path

import pytest

from imrt_core.dicom import read_phases
from imrt_core.patient import DicomError, IdentityError

from .objects import save_vendor, vendor_slice


def series(folder: Path, number: int, description: str = "", *, flat: bool = False, **attributes: object) -> None:
    """Write a series of three slices, in a folder of its own or all together."""
    for k in range(3):
        ds = vendor_slice(k)
        ds.SeriesInstanceUID = f"1.2.3.2.{number}"
        ds.SOPInstanceUID = f"1.2.3.4.{number}.{k}"
        if description:
            ds.SeriesDescription = description
        for name, value in attributes.items():
            setattr(ds, name, value)
        save_vendor(ds, folder / (f"{number}_{k}.dcm" if flat else f"{number}/{k}.dcm"))


@pytest.mark.parametrize("flat", [True, False])
def test_phases_of_time_in_the_order_of_the_cycle(tmp_path: Path, flat: bool) -> None:
    """Means and projections over the cycle are named, not read as phases."""
    written = ("Thorax T=50.0%", "Thorax 90 %", "Thorax T=0%", "Thorax MIP 0-90%", "Average CT", "scout free breathing")
    for number, description in enumerate(written):
        series(tmp_path, number, description, flat=flat)
    found = read_phases(tmp_path)
    assert [p.percent for p in found.phases] == [0.0, 50.0, 90.0]
    assert [p.label for p in found.phases] == ["Thorax T=0%", "Thorax T=50.0%", "Thorax 90 %"]
    assert not found.by_amplitude
    assert set(found.passed_over) == set(written[3:])
    assert found.number_of("1.2.3.2.1") == 2 and found.number_of("1.2.3") is None
    assert all(p.image.hu.grid.shape == (3, 3, 5) for p in found.phases)


def test_bins_of_amplitude_go_in_and_out(tmp_path: Path) -> None:
    for number, text in enumerate(("0% Ex", "50% Ex", "100% In", "25% In", "75% In")):
        series(tmp_path, number, f"4D {text}")
    found = read_phases(tmp_path)
    assert found.by_amplitude
    assert [p.label.removeprefix("4D ") for p in found.phases] == ["100% In", "50% Ex", "0% Ex", "25% In", "75% In"]
    assert [p.percent for p in found.phases] == [0.0, 25.0, 50.0, 62.5, 87.5]


def test_temporal_positions_where_the_description_says_nothing(tmp_path: Path) -> None:
    for number in range(4):
        series(tmp_path, number, TemporalPositionIdentifier=str(4 - number), NumberOfTemporalPositions="4")
    assert [p.percent for p in read_phases(tmp_path).phases] == [0.0, 25.0, 50.0, 75.0]
    assert read_phases(tmp_path).phases[0].image.series_uid == "1.2.3.2.3"


def test_what_is_unclear_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "one", 1, "10%")
    series(tmp_path / "one", 2, "120%")
    with pytest.raises(DicomError, match="no phases of breathing"):
        read_phases(tmp_path / "one")
    for number in (1, 2):
        series(tmp_path / "same", number, "10%")
    with pytest.raises(DicomError, match="same phase"):
        read_phases(tmp_path / "same")
    series(tmp_path / "mixed", 1, "10%")
    series(tmp_path / "mixed", 2, "20% In")
    with pytest.raises(DicomError, match="amplitude are mixed"):
        read_phases(tmp_path / "mixed")
    series(tmp_path / "frames", 1, "10%")
    series(tmp_path / "frames", 2, "20%", FrameOfReferenceUID="1.2.3.9")
    with pytest.raises(IdentityError, match="frame of reference"):
        read_phases(tmp_path / "frames")
    series(tmp_path / "patients", 1, "10%")
    series(tmp_path / "patients", 2, "20%", PatientID="P2")
    with pytest.raises(IdentityError, match="different patients"):
        read_phases(tmp_path / "patients")
