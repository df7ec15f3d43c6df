"""Structures, masks and doses carried to the day, by the rules of CLINICAL."""

from __future__ import annotations

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.evaluate.overlap import dice
from imrt_core.patient import (
    Contour,
    DisplacementField,
    Grid,
    RegistrationError,
    RigidTransform,
    Structure,
    StructureError,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import mask_from_structure, structure_volume_cc
from registration import PropagationRules, PtvRule, propagate_structures, warp, warp_structures
from registration.deformable import DeformableMatch
from registration.quality import DeformableLimits, judge_deformation
from registration.warp import vectors_on

#: moving_from_fixed.
MOVE = RigidTransform.from_parameters(translation_mm=(30, -20, 100), rotation_deg=(3, -2, 5), centre_lps=(0, 0, 0))
LIKE = Grid((50, 70, 70), (2.0, 2.0, 2.5), (-40.0, -90.0, 40.0))


def ball(
    name: str, centre: tuple[float, float, float], radius: float, kind: str = "ORGAN", *, step: float = 3.0
) -> Structure:
    """Circles on slices ``step`` apart."""
    angles = np.linspace(0, 2 * np.pi, 73)[:-1]
    contours = []
    for n in range(int(-radius / step), int(radius / step) + 1):
        height = n * step
        r = np.sqrt(max(radius**2 - height**2, 0.0))
        if r > 0.5:
            ring = np.stack([r * np.cos(angles), r * np.sin(angles), np.full(72, height)], axis=1)
            contours.append(Contour(ring + np.array(centre)))
    return Structure(name, tuple(contours), number=hash(name) % 97 + 1, interpreted_type=kind, color_rgb=(1, 2, 3))


SET = StructureSet(
    (
        ball("BODY", (0, 0, 0), 36, "EXTERNAL"),
        ball("CTV", (5, 3, 0), 12, "CTV"),
        ball("PTV", (5, 3, 0), 17, "PTV"),
        ball("PTV_only", (-14, 6, 3), 9, "PTV"),
        ball("Parotid", (-5, -16, 3), 10),
        ball("Couch", (0, 60, 0), 20, "SUPPORT"),
        Structure("Drawn_nowhere", ()),
    )
)


def growing(factor: float) -> DeformableMatch:
    """Organs grow by ``factor`` in length, about the origin of the plan."""
    fixed = Grid((40, 40, 40), (3.0, 3.0, 3.0), (-58.5, -58.5, -58.5))
    points = fixed.voxel_centres_lps()
    forward = DisplacementField((MOVE.apply(points * factor) - points).astype(np.float32), fixed)
    q = LIKE.voxel_centres_lps()
    backward = DisplacementField((MOVE.inverse().apply(q) / factor - q).astype(np.float32), LIKE)
    figures = dict.fromkeys(
        (
            "jacobian_min",
            "jacobian_max",
            "folded_percent",
            "inverse_error_mean_mm",
            "inverse_error_max_mm",
            "correlation_before",
            "correlation_after",
            "displacement_mean_mm",
            "displacement_max_mm",
            "bone_displacement_mm",
            "seen_fraction",
            "smoothed_folds",
        ),
        0.0,
    )
    return DeformableMatch(forward, backward, judge_deformation(limits=DeformableLimits(), **figures), 0.0)


def centroid(structure: Structure) -> np.ndarray:  # type: ignore[type-arg]
    mask = mask_from_structure(structure, LIKE)
    weights = mask.array / mask.array.sum()
    return np.einsum("kji,kjic->c", weights, LIKE.voxel_centres_lps())


def test_rigid_structures_keep_volume_and_land_where_they_should() -> None:
    moved = warp_structures(SET, MOVE.inverse(), like=LIKE, frame_of_reference_uid="1.2", referenced_series_uid="3.4")
    assert moved.names == SET.names
    assert (moved.frame_of_reference_uid, moved.referenced_series_uid) == ("1.2", "3.4")
    assert moved.approval_status == "UNAPPROVED"
    for name, centre in (("CTV", (5, 3, 0)), ("PTV_only", (-14, 6, 3)), ("Parotid", (-5, -16, 3))):
        was, now = SET[name], moved[name]
        assert (now.number, now.interpreted_type, now.color_rgb) == (was.number, was.interpreted_type, was.color_rgb)
        assert structure_volume_cc(now) == pytest.approx(structure_volume_cc(was), rel=0.01)
        # Along z a structure is whole slices: its ends may be off by half a slice each.
        npt.assert_allclose(centroid(now)[:2], MOVE.apply(centre)[:2], atol=0.15)
        assert centroid(now)[2] == pytest.approx(MOVE.apply(centre)[2], abs=0.7)
    slices = LIKE.origin_lps[2] + LIKE.spacing_mm[2] * np.arange(LIKE.shape[0])
    for structure in moved:
        for contour in structure.contours:
            z = contour.points_lps[:, 2]
            assert np.ptp(z) == 0
            assert np.min(np.abs(slices - z[0])) < 1e-6


def test_contours_on_the_same_slices_stay_what_they_are() -> None:
    # Nothing moved: rasterising and contouring again must not change a structure.
    like = Grid((40, 60, 60), (2.0, 2.0, 3.0), (-60.0, -60.0, -60.0))
    again = warp_structures(SET, RigidTransform.identity(), like=like)
    for name in ("CTV", "Parotid", "BODY"):
        assert structure_volume_cc(again[name]) == pytest.approx(structure_volume_cc(SET[name]), rel=0.0035)
        assert dice(mask_from_structure(again[name], like), mask_from_structure(SET[name], like)) > 0.99


def test_a_structure_that_leaves_the_day_is_empty() -> None:
    away = RigidTransform.from_parameters(translation_mm=(0, 0, 4000))
    moved = warp_structures(SET, away, like=LIKE)
    assert moved.names == SET.names
    assert all(structure.is_empty for structure in moved)


def test_propagation_rules() -> None:
    rules = PropagationRules(ptvs=(PtvRule("PTV", "CTV", 5.0),))
    day = propagate_structures(SET, rigid=MOVE, deformable=growing(1.1), rules=rules, frame_of_reference_uid="9.9")
    methods = {row.name: row.method for row in day.rows}
    assert methods == {
        "BODY": "deformable",
        "CTV": "rigid",
        "PTV": "CTV of day + 5 mm",
        "PTV_only": "rigid PTV",
        "Parotid": "deformable",
    }
    assert day.structures.names == ("BODY", "CTV", "PTV", "PTV_only", "Parotid")
    assert day.structures.frame_of_reference_uid == "9.9"
    assert day.structures.approval_status == "UNAPPROVED"
    assert day.passed
    changes = {row.name: row.change_percent for row in day.rows}
    assert changes["Parotid"] == pytest.approx(100 * (1.1**3 - 1), abs=3)
    assert abs(changes["CTV"]) < 1
    assert abs(changes["PTV_only"]) < 1
    # CTV of radius 12 mm plus 5 mm is the planned PTV of 17 mm.
    assert abs(changes["PTV"]) < 4
    npt.assert_allclose(centroid(day.structures["PTV"]), MOVE.apply((5, 3, 0)), atol=0.7)
    npt.assert_allclose(centroid(day.structures["Parotid"]), MOVE.apply(1.1 * np.array([-5, -16, 3])), atol=0.7)
    assert not any(row.reviewed for row in day.rows)
    assert "no CTV" in next(row.note for row in day.rows if row.name == "PTV_only")


def test_a_target_that_loses_volume_needs_a_person() -> None:
    rules = PropagationRules(ptvs=(PtvRule("PTV", "CTV", 5.0),), deform_targets=("CTV",))
    day = propagate_structures(SET, rigid=MOVE, deformable=growing(0.95), rules=rules)
    assert not day.passed
    assert any("CTV loses" in reason for reason in day.reasons)
    fine = propagate_structures(SET, rigid=MOVE, deformable=growing(0.99), rules=rules)
    assert fine.passed, fine.reasons
    assert {row.name: row.method for row in fine.rows}["CTV"] == "deformable"


def test_without_a_deformation_everything_follows_rigidly() -> None:
    rules = PropagationRules(ptvs=(PtvRule("PTV", "CTV", (5, 5, 5, 5, 8, 8)),))
    day = propagate_structures(SET, rigid=MOVE, deformable=None, rules=rules, like=LIKE)
    assert {row.method for row in day.rows} == {"rigid", "rigid PTV", "CTV of day + 5/5/5/5/8/8 mm"}
    with pytest.raises(StructureError, match="slices of the day"):
        propagate_structures(SET, rigid=MOVE, deformable=None, rules=rules)


def test_an_organ_may_be_ruled_rigid() -> None:
    rules = PropagationRules(rigid_organs=("Parotid",))
    day = propagate_structures(SET, rigid=MOVE, deformable=growing(1.1), rules=rules)
    assert {row.name: row.method for row in day.rows}["Parotid"] == "rigid"


def test_a_target_outside_the_slices_is_a_reason() -> None:
    low = LIKE.cropped((0, 0, 0), (70, 70, 10))
    day = propagate_structures(SET, rigid=MOVE, deformable=None, rules=PropagationRules(), like=low)
    assert not day.passed
    assert any("outside the slices" in reason for reason in day.reasons)


@pytest.mark.parametrize(
    "rules",
    [
        PropagationRules(ptvs=(PtvRule("PTV", "GTV", 5.0),)),
        PropagationRules(ptvs=(PtvRule("PTV", "Drawn_nowhere", 5.0),)),
        PropagationRules(ptvs=(PtvRule("PTV_only", "PTV", 5.0),)),
        PropagationRules(deform_targets=("PTV",)),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(rules: PropagationRules) -> None:
    with pytest.raises(StructureError):
        propagate_structures(SET, rigid=MOVE, deformable=growing(1.0), rules=rules)


def test_warp_options() -> None:
    volume = Volume(np.full((4, 4, 4), 3.0, np.float32), Grid((4, 4, 4), (1, 1, 1)))
    like = Grid((2, 2, 2), (1, 1, 1), (10, 10, 10))
    assert np.all(warp(volume, RigidTransform.identity(), like=like, outside=-7).array == -7)
    with pytest.raises(RegistrationError, match="interpolation"):
        warp(volume, RigidTransform.identity(), like=like, order=3)
    # A field on another grid of the same frame is interpolated.
    field = DisplacementField(np.full((3, 3, 3, 3), -9.0, np.float32), Grid((3, 3, 3), (5, 5, 5), (5, 5, 5)))
    assert np.all(warp(volume, field, like=like).array == 3)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 6)),
    spacing=st.tuples(*[st.floats(0.7, 6.0)] * 3),
    origin=st.tuples(*[st.floats(-12.0, 12.0)] * 3),
    turn_deg=st.sampled_from([0.0, 10.0]),
    seed=st.integers(0, 99),
)
def test_vectors_on_another_grid_are_trilinear(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    turn_deg: float,
    seed: int,
) -> None:
    grid = Grid((4, 5, 6), (3.0, 2.0, 4.0), (-8.0, -4.0, -6.0))
    vectors = np.random.default_rng(seed).normal(0, 3, (*grid.shape, 3)).astype(np.float32)
    field = DisplacementField(vectors, grid)
    turned = RigidTransform.from_parameters(rotation_deg=(0, 0, turn_deg))
    other = Grid(shape, spacing, origin).transformed(turned)
    npt.assert_allclose(vectors_on(field, other), field.displacement_at(other.voxel_centres_lps()), atol=1e-4)
