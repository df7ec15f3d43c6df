"""Contours, structures and structure sets; images and errors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from imrt_core.patient import (
    Contour,
    DicomError,
    Grid,
    IdentityError,
    InputRefusedError,
    PatientIdentity,
    PatientImage,
    Structure,
    StructureError,
    StructureSet,
    Volume,
)
from tests.shapes import circle


def test_contours_are_copied_and_read_only():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    contour = Contour(points)
    points[0, 0] = 9
    assert contour.points_lps[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        contour.points_lps[0, 0] = 1


@pytest.mark.parametrize("points", [np.zeros((2, 3)), np.zeros((4, 2)), np.full((3, 3), np.nan)])
def test_contours_that_are_none_are_refused(points):
    with pytest.raises(StructureError, match="three finite points"):
        Contour(points)


def test_sets_find_structures_by_name():
    body = Structure("Body", (circle(10, 0),), interpreted_type="external")
    target = Structure("GTV", (), interpreted_type="GTV")
    structures = StructureSet((body, target))
    assert structures["GTV"] is target
    assert structures.external() is body
    assert (structures.names, len(structures), "GTV" in structures, "CTV" in structures) == (
        ("Body", "GTV"),
        2,
        True,
        False,
    )
    assert (target.is_empty, target.is_target, body.is_target) == (True, True, False)
    with pytest.raises(StructureError, match=r"no structure 'CTV'; found Body, GTV; expected CTV"):
        structures["CTV"]
    assert StructureSet((target,)).external() is None


def test_names_are_unique_and_not_blank():
    with pytest.raises(StructureError, match="unique"):
        StructureSet((Structure("A", ()), Structure("A", ())))
    with pytest.raises(StructureError, match="needs a name"):
        Structure("  ", ())


def test_patient_position_is_checked_and_never_assumed():
    hu = Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), (1.0, 1.0, 1.0)))
    assert PatientImage(hu, PatientIdentity("P")).patient_position is None
    with pytest.raises(IdentityError, match=r"found HFDR; expected HFS HFP FFS FFP"):
        PatientImage(hu, PatientIdentity("P"), patient_position="HFDR")


def test_errors_say_what_was_found_expected_and_where_also_after_pickling():
    error = DicomError("missing slices", found="89", expected="90", where="series 3", code="missing-slices")
    assert str(error) == "missing slices; found 89; expected 90; in series 3"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DicomError
    assert (
        again.as_dict()
        == error.as_dict()
        == {
            "code": "missing-slices",
            "message": "missing slices",
            "found": "89",
            "expected": "90",
            "where": "series 3",
        }
    )
    assert InputRefusedError("no").code == "input-refused"
