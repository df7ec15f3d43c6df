"""Plans of each vendor's shape are read and opened as they say; what is wrong or not modelled is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from imrt_core.dicom import read_plan
from imrt_core.dose import fluence_maps
from imrt_core.machine import load_machine, mismatches, recognise
from imrt_core.patient import InputRefusedError, PlanError

from .objects import edit, having, lacking
from .vendor_plans import AGILITY, HD, MILLENNIUM, SHAPES, device, positions, vendor_plan

MODEL = replace(load_machine("generic_6mv").model, mlc_transmission=0.0, jaw_transmission=0.0)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_each_shape_opens_what_it_says(tmp_path: Path, shape: str) -> None:
    beam = read_plan(vendor_plan(tmp_path / "rp.dcm", shape)).beams[0]
    assert beam.unsupported == ()
    (found,) = fluence_maps(beam, MODEL, patient_position="HFS")
    assert found.relative.sum() * 1.25**2 == pytest.approx(80.0**2, rel=1e-9)
    assert mismatches(beam) == ()
    if beam.mlc is not None:
        expected = shape if shape in ("millennium-120", "hd-120", "agility-160") else "generic"
        assert recognise(beam.mlc.boundaries_mm) == expected
    assert (beam.control_points[0].jaw_x_mm is None) == (shape == "agility-160")


def test_collimators_by_their_boundaries() -> None:
    assert [recognise(b) for b in (MILLENNIUM, HD, AGILITY)] == ["millennium-120", "hd-120", "agility-160"]
    assert recognise(np.array(MILLENNIUM) + 0.02) == "millennium-120"
    assert recognise(np.array(MILLENNIUM) + 0.2) == "generic"
    assert recognise(np.linspace(-140, 140, 29)) == "generic"
    for wrong in ([0.0], [0.0, np.nan, 2.0], [0.0, 2.0, 1.0], [0.0, np.inf]):
        with pytest.raises(PlanError, match="LeafPositionBoundaries"):
            recognise(wrong)


def test_travel_beyond_the_collimator_is_told(tmp_path: Path) -> None:
    beam = read_plan(vendor_plan(tmp_path / "rp.dcm", "agility-160")).beams[0]
    leaves = np.array(beam.control_points[0].leaves_mm)
    leaves[0, 3] = leaves[1, 3] = 165.0  # the bank at the negative side goes 150 mm across
    points = tuple(replace(p, leaves_mm=leaves) for p in beam.control_points)
    assert "14.0 mm beyond its travel" in mismatches(replace(beam, control_points=points))[0]
    wide = read_plan(vendor_plan(tmp_path / "rp.dcm", "millennium-120")).beams[0]
    leaves = np.array(wide.control_points[0].leaves_mm)
    leaves[:, 0] = 120.0
    points = tuple(replace(p, leaves_mm=leaves) for p in wide.control_points)
    assert "160.0 mm apart" in mismatches(replace(wide, control_points=points))[0]
    without = tuple(replace(p, jaw_x_mm=None) for p in wide.control_points)
    assert "1 pairs of jaws, millennium-120 has 2" in mismatches(replace(wide, control_points=without))[0]


def _beam(ds: Dataset) -> Dataset:
    return ds.BeamSequence[0]


def _first(ds: Dataset) -> Dataset:
    return _beam(ds).ControlPointSequence[0]


def _leaf(value: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        item = _first(ds).BeamLimitingDevicePositionSequence[-1]
        raw = [str(v) for v in item.LeafJawPositions]
        raw[7] = value
        item.LeafJawPositions = raw

    return change


def _boundaries(change: Callable[[list[str]], list[str]]) -> Callable[[Dataset], None]:
    def apply(ds: Dataset) -> None:
        item = _beam(ds).BeamLimitingDeviceSequence[-1]
        item.LeafPositionBoundaries = change([str(v) for v in item.LeafPositionBoundaries])

    return apply


def _overlap(ds: Dataset) -> None:
    _first(ds).BeamLimitingDevicePositionSequence[-1].LeafJawPositions = ["5"] * 60 + ["0"] * 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ds: lacking("LeafPositionBoundaries")(_beam(ds).BeamLimitingDeviceSequence[-1]), "LeafPositionBound"),
        (_boundaries(lambda b: b[:-1]), "60 edges for 60 pairs of MLCX"),
        (_boundaries(lambda b: [*b[:-1], "nan"]), "LeafPositionBoundaries"),
        (_boundaries(lambda b: [*b[:-2], b[-1], b[-2]]), "ascend"),
        (lambda ds: _beam(ds).BeamLimitingDeviceSequence.pop(), "positions of MLCX"),
        (_leaf("nan"), "LeafJawPositions"),
        (_leaf("inf"), "LeafJawPositions"),
        (_leaf("45"), "overlap"),
        (_overlap, "pair 1: 5.00 > 0.00"),
        (lambda ds: having(LeafJawPositions=["40", "-40"])(_first(ds).BeamLimitingDevicePositionSequence[0]), "jaw_x"),
        (lambda ds: having(LeafJawPositions=["nan", "4"])(_first(ds).BeamLimitingDevicePositionSequence[1]), "LeafJaw"),
        (lambda ds: having(GantryAngle="nan")(_first(ds)), "GantryAngle"),
        (lambda ds: having(BeamLimitingDeviceAngle="inf")(_first(ds)), "BeamLimitingDeviceAngle"),
        (lambda ds: having(PatientSupportAngle="nan")(_first(ds)), "PatientSupportAngle"),
        (lambda ds: having(IsocenterPosition=["0", "nan", "0"])(_first(ds)), "IsocenterPosition"),
        (lambda ds: having(NominalBeamEnergy="nan")(_first(ds)), "NominalBeamEnergy"),
        (lambda ds: having(CumulativeMetersetWeight="nan")(_beam(ds).ControlPointSequence[1]), "CumulativeMeterset"),
        (lambda ds: having(FinalCumulativeMetersetWeight="inf")(_beam(ds)), "FinalCumulativeMeterset"),
        (lambda ds: having(SourceAxisDistance="nan")(_beam(ds)), "SourceAxisDistance"),
        (
            lambda ds: having(BeamMeterset="nan")(ds.FractionGroupSequence[0].ReferencedBeamSequence[0]),
            "BeamMeterset",
        ),
        (lambda ds: having(BeamDose="inf")(ds.FractionGroupSequence[0].ReferencedBeamSequence[0]), "BeamDose"),
    ],
)
def test_what_is_not_a_plan_is_refused_with_its_beam(
    tmp_path: Path, change: Callable[[Dataset], object], words: str
) -> None:
    path = vendor_plan(tmp_path / "rp.dcm", "millennium-120")
    # pydicom itself refuses to hold some of these; files do hold them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
        patch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
        edit(path, change)
    with pytest.raises(InputRefusedError) as caught:
        read_plan(path)
    assert words in str(caught.value)
    assert f"{path}, beam A" in caught.value.where


def _second_layer(ds: Dataset) -> None:
    _beam(ds).BeamLimitingDeviceSequence.append(device("MLCY", range(-200, 201, 10), 40))
    _first(ds).BeamLimitingDevicePositionSequence.append(positions("MLCY", 40, 40.0))


def _two_stacked(ds: Dataset) -> None:
    """Two leaf layers and no jaws, as of a ring-gantry machine."""
    _beam(ds).BeamLimitingDeviceSequence = [device(k, range(-140, 141, 10), 28) for k in ("MLCX1", "MLCX2")]
    _first(ds).BeamLimitingDevicePositionSequence = [positions(k, 28, 40.0) for k in ("MLCX1", "MLCX2")]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_second_layer, ("collimator with two leaf layers (MLCX, MLCY)",)),
        (_two_stacked, ("collimator MLCX1", "collimator MLCX2")),
        (lambda ds: having(WedgeSequence=[Dataset()])(_beam(ds)), ("wedge",)),
        (lambda ds: having(BlockSequence=[Dataset()])(_beam(ds)), ("block",)),
        (lambda ds: having(CompensatorSequence=[Dataset()])(_beam(ds)), ("compensator",)),
        (lambda ds: having(ReferencedBolusSequence=[Dataset()])(_beam(ds)), ("bolus",)),
        (lambda ds: having(RadiationType="PROTON")(_beam(ds)), ("proton radiation",)),
        (lambda ds: having(RadiationType="ELECTRON")(_beam(ds)), ("electron radiation",)),
        (lambda ds: having(ApplicatorSequence=[Dataset()])(_beam(ds)), ("applicator",)),
        (lambda ds: having(GeneralAccessorySequence=[Dataset()])(_beam(ds)), ("accessory",)),
    ],
)
def test_what_is_not_modelled_is_named(
    tmp_path: Path, change: Callable[[Dataset], None], expected: tuple[str, ...]
) -> None:
    path = vendor_plan(tmp_path / "rp.dcm", "millennium-120")
    edit(path, change)
    assert read_plan(path).beams[0].unsupported == expected


@pytest.mark.shared_data
def test_collimators_of_the_two_real_plans(shared_data: Path) -> None:
    breast = read_plan(shared_data / "dicom_breast_imrt" / "rtplan.dcm")
    monaco = read_plan(shared_data / "beam_pymedphys" / "06MV_plan.dcm")
    for plan, name in ((breast, "millennium-120"), (monaco, "agility-160")):
        for beam in plan.beams:
            assert beam.mlc is not None
            assert recognise(beam.mlc.boundaries_mm) == name
            assert mismatches(beam) == ()
            assert beam.unsupported == ()
