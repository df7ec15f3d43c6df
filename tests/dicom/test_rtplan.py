from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from imrt_core.dicom import read_plan, write_plan
from imrt_core.patient import Beam, DicomError, IdentityError, InputRefusedError, Plan, PlanError

from .objects import edit, having, image, plan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ct = image()
    return write_plan(plan(ct), image=ct, path=tmp_path / "rp.dcm")


def _compare_beams(a: Beam, b: Beam) -> None:
    for name in ("number", "name", "machine_name", "mlc", "sad_mm", "beam_dose_gy", "beam_dose_point_lps"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("radiation_type", "fluence_mode", "unsupported", "nominal_energy_mv"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.mu == pytest.approx(b.mu, rel=1e-12)
    for x, y in zip(a.control_points, b.control_points, strict=True):
        assert x.cumulative_weight == pytest.approx(y.cumulative_weight, abs=1e-12)
        for name in ("gantry_deg", "collimator_deg", "table_deg", "isocentre_lps", "jaw_x_mm", "jaw_y_mm"):
            assert getattr(x, name) == pytest.approx(getattr(y, name), abs=1e-9), name
        assert x.leaves_mm is not None
        assert y.leaves_mm is not None
        assert np.max(np.abs(x.leaves_mm - y.leaves_mm)) < 1e-9
        assert (x.gantry_direction, x.dose_rate_mu_per_min) == (y.gantry_direction, y.dose_rate_mu_per_min)


def test_round_trip(file: Path) -> None:
    written, found = plan(image()), read_plan(file)
    for a, b in zip(found.beams, written.beams, strict=True):
        _compare_beams(a, b)
    changed = {"beams", "description"}
    for name in set(Plan.__dataclass_fields__) - changed:
        assert getattr(found, name) == getattr(written, name), name
    assert found.description == "Research software, not a medical device. Made for a test."
    assert [beam.is_arc for beam in found.beams] == [False, False, True]


def test_a_plan_written_twice_is_the_same(file: Path, tmp_path: Path) -> None:
    again = write_plan(read_plan(file), image=image(), path=tmp_path / "again.dcm")
    assert again.read_bytes() == file.read_bytes()


def test_what_is_written_is_unapproved_research(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    assert (dataset.ApprovalStatus, dataset.PlanIntent) == ("UNAPPROVED", "RESEARCH")
    predecessor = dataset.ReferencedRTPlanSequence[0]
    assert predecessor.RTPlanRelationship == "PREDECESSOR"
    assert predecessor.ReferencedSOPInstanceUID == plan(image()).predecessor_uid
    assert [beam.BeamType for beam in dataset.BeamSequence] == ["STATIC", "DYNAMIC", "DYNAMIC"]


def test_unchanging_values_are_written_once_and_changing_ones_always(file: Path) -> None:
    static, dynamic, arc = pydicom.dcmread(file).BeamSequence
    assert "BeamLimitingDevicePositionSequence" not in static.ControlPointSequence[1]
    for point in dynamic.ControlPointSequence[1:]:
        kinds = {d.RTBeamLimitingDeviceType for d in point.BeamLimitingDevicePositionSequence}
        assert kinds == {"ASYMX", "MLCX"}
        assert "GantryAngle" not in point
    assert all("GantryAngle" in point for point in arc.ControlPointSequence)


def test_jaws_that_are_absent_stay_absent(tmp_path: Path) -> None:
    ct = image()
    made = plan(ct)
    points = tuple(replace(p, jaw_x_mm=None) for p in made.beams[1].control_points)
    file = write_plan(
        replace(made, beams=(replace(made.beams[1], control_points=points),)), image=ct, path=tmp_path / "rp.dcm"
    )
    assert {p.jaw_x_mm for p in read_plan(file).beams[0].control_points} == {None}
    assert read_plan(file).beams[0].control_points[3].jaw_y_mm == (-40.0, 45.5)


def _devices(ds: Dataset) -> list[Dataset]:
    beam = ds.BeamSequence[0]
    positions = [d for p in beam.ControlPointSequence for d in p.get("BeamLimitingDevicePositionSequence", [])]
    return [*beam.BeamLimitingDeviceSequence, *positions]


def test_symmetric_jaws_and_a_collimator_along_y(file: Path) -> None:
    names = {"ASYMX": "X", "ASYMY": "Y", "MLCX": "MLCY"}

    def change(ds: Dataset) -> None:
        for device in _devices(ds):
            device.RTBeamLimitingDeviceType = names[device.RTBeamLimitingDeviceType]

    edit(file, change)
    beam = read_plan(file).beams[0]
    assert beam.mlc is not None
    assert beam.mlc.axis == "Y"
    assert beam.control_points[1].jaw_x_mm == (-50.0, 50.0)
    assert beam.control_points[1].leaves_mm is not None


def test_weights_are_divided_by_the_final_one(file: Path) -> None:
    def change(ds: Dataset) -> None:
        beam = ds.BeamSequence[1]
        beam.FinalCumulativeMetersetWeight = 123.456789
        for point in beam.ControlPointSequence:
            point.CumulativeMetersetWeight = 123.456789 * float(point.CumulativeMetersetWeight)

    edit(file, change)
    weights = [p.cumulative_weight for p in read_plan(file).beams[1].control_points]
    assert weights == pytest.approx(np.linspace(0, 1, 7), abs=1e-9)


def test_set_up_beams_are_left_out(file: Path) -> None:
    edit(file, lambda ds: setattr(ds.BeamSequence[0], "TreatmentDeliveryType", "SETUP"))
    assert [beam.number for beam in read_plan(file).beams] == [2, 5]


def _wedge(ds: Dataset, position: str) -> None:
    beam = ds.BeamSequence[0]
    beam.NumberOfWedges = 1
    wedge = Dataset()
    wedge.WedgePosition = position
    beam.ControlPointSequence[0].WedgePositionSequence = [wedge]


def _second_collimator(ds: Dataset) -> None:
    device = Dataset()
    device.RTBeamLimitingDeviceType = "MLCX1"
    device.NumberOfLeafJawPairs = 29
    ds.BeamSequence[0].BeamLimitingDeviceSequence.append(device)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda ds: having(NumberOfWedges=1)(ds.BeamSequence[0]), ("wedge",)),
        (lambda ds: _wedge(ds, "IN"), ("wedge",)),
        (lambda ds: _wedge(ds, "OUT"), ()),
        (lambda ds: having(NumberOfBlocks=2)(ds.BeamSequence[0]), ("block",)),
        (lambda ds: having(NumberOfBoli=1, NumberOfCompensators=1)(ds.BeamSequence[0]), ("compensator", "bolus")),
        (lambda ds: having(RadiationType="ELECTRON")(ds.BeamSequence[0]), ("electron radiation",)),
        (lambda ds: having(ApplicatorSequence=[Dataset()])(ds.BeamSequence[0]), ("applicator",)),
        (
            lambda ds: having(TableTopPitchAngle=2.0)(ds.BeamSequence[0].ControlPointSequence[0]),
            ("TableTopPitchAngle",),
        ),
        (_second_collimator, ("collimator MLCX1",)),
    ],
)
def test_what_cannot_be_modelled_is_named(
    file: Path, change: Callable[[Dataset], None], expected: tuple[str, ...]
) -> None:
    edit(file, change)
    beam = read_plan(file).beams[0]
    assert beam.unsupported == expected
    if "electron radiation" in expected:
        assert beam.radiation_type == "ELECTRON"


def refusal(file: Path) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_plan(file)
    assert str(file) in caught.value.where
    return caught.value


def _two_groups(ds: Dataset) -> None:
    ds.FractionGroupSequence.append(ds.FractionGroupSequence[0])


def _first_point(**values: object) -> Callable[[Dataset], None]:
    return lambda ds: having(**values)(ds.BeamSequence[1].ControlPointSequence[0])


def _too_few_leaves(ds: Dataset) -> None:
    ds.BeamSequence[1].ControlPointSequence[2].BeamLimitingDevicePositionSequence[-1].LeafJawPositions = [0.0] * 78


def _lost(sequence: str, keyword: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        item = ds.BeamSequence[1]
        target = {
            "beam": item,
            "point": item.ControlPointSequence[0],
            "share": ds.FractionGroupSequence[0].ReferencedBeamSequence[1],
        }[sequence]
        delattr(target, keyword)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_two_groups, "found 2 fraction groups; expected 1"),
        (lambda ds: ds.FractionGroupSequence.clear(), "found 0 fraction groups"),
        (lambda ds: having(NumberOfBrachyApplicationSetups=1)(ds.FractionGroupSequence[0]), "brachytherapy"),
        (lambda ds: having(NumberOfBeams=4)(ds.FractionGroupSequence[0]), "expected 4 beams"),
        (lambda ds: having(NumberOfFractionsPlanned="")(ds.FractionGroupSequence[0]), "NumberOfFractionsPlanned"),
        (lambda ds: ds.BeamSequence[1].ControlPointSequence.pop(), "found 6; expected 7"),
        (lambda ds: ds.BeamSequence.pop(), "found 2 beams"),
        (lambda ds: having(FinalCumulativeMetersetWeight="1.5")(ds.BeamSequence[1]), "found 1; expected 1.5"),
        (lambda ds: having(PrimaryDosimeterUnit="MINUTE")(ds.BeamSequence[1]), "found MINUTE; expected MU"),
        (_lost("share", "BeamMeterset"), "without meterset"),
        (_lost("point", "GantryAngle"), "gantry None"),
        (_lost("point", "IsocenterPosition"), "isocentre None"),
        (_lost("point", "NominalBeamEnergy"), "NominalBeamEnergy"),
        (_lost("point", "BeamLimitingDevicePositionSequence"), "no leaf positions"),
        (_too_few_leaves, "found 78; expected 80"),
        (lambda ds: having(PatientPosition="HFDL")(ds.PatientSetupSequence[0]), "HFDL"),
        (lambda ds: [having(TreatmentDeliveryType="SETUP")(b) for b in ds.BeamSequence], "3 set-up beams"),
    ],
)
def test_plans_that_cannot_be_used(file: Path, change: Callable[[Dataset], object], words: str) -> None:
    edit(file, change)
    assert words in str(refusal(file))


def test_overlapping_leaves_are_refused(file: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.BeamSequence[0].ControlPointSequence[0].BeamLimitingDevicePositionSequence[2].LeafJawPositions = [
            5.0
        ] * 40 + [0.0] * 40

    edit(file, change)
    with pytest.raises(PlanError, match="overlap"):
        read_plan(file)


def test_every_truncation_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for size in range(0, len(whole) - 1, 997):
        file.write_bytes(whole[:size])
        assert isinstance(refusal(file), InputRefusedError)


def _reference(kind: str, dose: object, **values: object) -> Dataset:
    item = Dataset()
    item.DoseReferenceType = "TARGET"
    item.DoseReferenceStructureType = kind
    item.TargetPrescriptionDose = dose
    having(**values)(item)
    return item


def test_prescription_at_a_point_counts_only_alone(file: Path) -> None:
    edit(file, having(DoseReferenceSequence=[_reference("SITE", 60.0), _reference("COORDINATES", 55.0)]))
    assert read_plan(file).prescription_gy == (("", 60.0),)
    edit(file, having(DoseReferenceSequence=[_reference("COORDINATES", 55.0)]))
    assert read_plan(file).prescription_gy == (("", 55.0),)
    edit(file, having(DoseReferenceSequence=[_reference("SITE", 60.0, DoseReferenceType="ORGAN_AT_RISK")]))
    assert read_plan(file).prescription_gy == ()


def test_patient_position_absent(file: Path) -> None:
    edit(file, lambda ds: delattr(ds, "PatientSetupSequence"))
    assert read_plan(file).patient_position is None


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"approval_status": "APPROVED"}, PlanError, "APPROVED, intent RESEARCH"),
        ({"intent": "CURATIVE"}, PlanError, "UNAPPROVED, intent CURATIVE"),
        ({"structure_set_uid": ""}, PlanError, "no structure set"),
        ({"frame_of_reference_uid": "1.9"}, IdentityError, "found 1.9"),
        ({"patient_position": "FFS"}, IdentityError, "found FFS; expected HFS"),
        ({"label": "a label that is far too long"}, DicomError, "RT Plan Label is too long"),
    ],
)
def test_writing_is_strict(tmp_path: Path, changes: dict[str, str], kind: type[InputRefusedError], words: str) -> None:
    ct = image()
    with pytest.raises(kind) as caught:
        write_plan(plan(ct, **changes), image=ct, path=tmp_path / "rp.dcm")
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_plan_without_any_patient_position_is_not_written(tmp_path: Path) -> None:
    ct = image(position=None)
    with pytest.raises(PlanError, match="patient position"):
        write_plan(plan(ct), image=ct, path=tmp_path / "rp.dcm")


def test_unmodelled_devices_are_not_written(tmp_path: Path) -> None:
    ct = image()
    made = plan(ct)
    bad = replace(made, beams=(replace(made.beams[0], unsupported=("wedge",)),))
    with pytest.raises(PlanError, match="wedge"):
        write_plan(bad, image=ct, path=tmp_path / "rp.dcm")
