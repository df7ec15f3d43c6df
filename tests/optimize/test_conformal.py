"""3D conformal plans of small patients: symmetric, deliverable, normalised; weights against exact ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imrt_core.dicom import write_plan
from imrt_core.dose import plan_dose
from imrt_core.evaluate.plan_complexity import plan_complexity
from imrt_core.machine import DeliveryLimits, load_machine
from imrt_core.optimize import BeamDirection, PlanProgress, PlanResult, PlanSettings, VoxelSet
from imrt_core.optimize.conformal import conformal_fields, make_conformal_plan
from imrt_core.optimize.conformal_weights import LeastSquaresTerm, aperture_mu
from imrt_core.optimize.problem import PlanningVoxels
from imrt_core.patient import Goal, PlanError, ProtocolError, StructureSet
from imrt_core.patient.contours import structure_from_mask
from tests.dicom.objects import image
from tests.dicom.test_dciodvfy import validate
from tests.optimize.cases import GRID, _mask, c_shape_patient

MACHINE = load_machine("generic_6mv")
SETTINGS = PlanSettings(optimisation_grid_mm=6.0, dose_grid_mm=5.0)
LEVELS = (("PTV56", 56.0), ("PTV70", 70.0))
GOALS = (Goal.parse("PTV70 D95%[Gy] >= 70"), Goal.parse("Core Mean[Gy] <= 20"))
FOUR = tuple(BeamDirection(gantry_deg=float(g)) for g in (0, 90, 180, 270))


def patient() -> tuple[object, StructureSet]:
    """The water cylinder with a ball of 20 mm in one of 35 mm, both in the middle, and an organ beside them."""
    red, drawn = c_shape_patient()
    points = GRID.voxel_centres_lps()
    radius = np.linalg.norm(points, axis=-1)
    organ = np.linalg.norm(points - [60.0, 0.0, 0.0], axis=-1) < 15.0
    return red, StructureSet(
        (
            drawn["External"],
            structure_from_mask(_mask(radius < 35.0), name="PTV56", number=2, interpreted_type="PTV"),
            structure_from_mask(_mask(radius < 20.0), name="PTV70", number=3, interpreted_type="PTV"),
            structure_from_mask(_mask(organ), name="Core", number=4),
        ),
        frame_of_reference_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
    )


def make(beams=FOUR, *, levels=LEVELS, goals=GOALS, **options) -> PlanResult:
    red, drawn = patient()
    return make_conformal_plan(
        red,
        drawn,
        MACHINE,
        goals=goals,
        prescription_gy=levels,
        fractions=35,
        beams=beams,
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position="HFS",
        settings=SETTINGS,
        **options,
    )


@pytest.fixture(scope="module")
def boost() -> tuple[PlanResult, list[PlanProgress]]:
    seen: list[PlanProgress] = []
    return make(plan_uid="1.2.3.4.5", progress=seen.append), seen


def test_both_levels_are_covered(boost: tuple[PlanResult, list[PlanProgress]]) -> None:
    """70 Gy where they are prescribed, and within field-in-field's reach of 56 Gy around."""
    result, _ = boost
    assert result.dvhs["PTV70"].metric("D95%[Gy]") == pytest.approx(70.0, abs=0.1)
    assert result.dvhs["PTV70"].metric("D2%[Gy]") < 1.1 * 70.0
    assert result.dvhs["PTV56"].metric("D95%[Gy]") > 0.93 * 56.0
    assert [str(goal.goal) for goal in result.goals] == [str(goal) for goal in GOALS]
    assert result.kkt_residual < 1e-6


def test_opposed_beams_of_a_symmetric_patient_have_the_same_mu() -> None:
    """Without the organ, a quarter turn changes nothing but the voxels: equal MU to a few percent."""
    result = make(goals=GOALS[:1], levels=LEVELS[1:])
    mu = np.array([beam.mu for beam in result.plan.beams])
    np.testing.assert_allclose(mu, mu.mean(), rtol=0.05)
    assert result.segments == 4


def test_the_organ_pulls_the_beam_that_passes_it(boost: tuple[PlanResult, list[PlanProgress]]) -> None:
    """The organ lies on the patient's left, where gantry 90° enters."""
    mu = {beam.control_points[0].gantry_deg: beam.mu for beam in boost[0].plan.beams}
    assert mu.get(90.0, 0.0) < min(mu[0.0], mu[180.0])


def test_the_stated_dose_is_that_of_the_plan(boost: tuple[PlanResult, list[PlanProgress]]) -> None:
    result, _ = boost
    red, _ = patient()
    again = plan_dose(result.plan, red, MACHINE, dose_grid=result.course_dose_gy.grid, patient_position="HFS")
    np.testing.assert_allclose(again.fraction_dose_gy.array, result.fraction_dose_gy.array, atol=1e-4)
    np.testing.assert_allclose(result.course_dose_gy.array, 35 * result.fraction_dose_gy.array, rtol=1e-5)
    for beam, dose in zip(result.plan.beams, again.beams, strict=True):
        assert beam.beam_dose_gy == pytest.approx(dose.dose_at_isocentre_gy, rel=1e-4)


def test_every_segment_obeys_the_machine(boost: tuple[PlanResult, list[PlanProgress]]) -> None:
    result, _ = boost
    limits = MACHINE.limits
    assert result.segments == sum(len(beam.control_points) // 2 for beam in result.plan.beams)
    for beam in result.plan.beams:
        leaves = np.stack([cp.leaves_mm for cp in beam.control_points])
        assert np.all(leaves[:, 1] - leaves[:, 0] >= limits.leaf_gap_mm - 1e-9)
        assert np.ptp(leaves, axis=2).max() <= limits.leaf_span_mm
        mu = np.diff(beam.mu * np.array([cp.cumulative_weight for cp in beam.control_points]))
        assert np.all(mu[mu > 1e-9] >= limits.minimum_segment_mu)
        assert limits.minimum_beam_mu <= beam.mu <= limits.maximum_beam_mu
    assert result.mu == pytest.approx(result.plan.total_mu)


@pytest.mark.service
def test_what_is_written_passes_the_validator(boost: tuple[PlanResult, list[PlanProgress]], tmp_path: Path) -> None:
    ct = image()
    plan = replace(boost[0].plan, frame_of_reference_uid=ct.frame_of_reference_uid)
    assert max(len(beam.control_points) for beam in plan.beams) > 2, "a boost is a second segment"
    validate(write_plan(plan, image=ct, path=tmp_path / "rp.dcm"))


def test_the_plan_says_what_it_is(boost: tuple[PlanResult, list[PlanProgress]]) -> None:
    result, seen = boost
    plan = result.plan
    assert (plan.approval_status, plan.intent, plan.fractions_planned) == ("UNAPPROVED", "RESEARCH", 35)
    assert plan.sop_instance_uid == "1.2.3.4.5"
    assert plan.prescription_gy == LEVELS
    assert [p.stage for p in seen] == ["influence", "optimise", "sequence", "final_dose"]
    assert set(result.stage_seconds) == {p.stage for p in seen}
    # Static fields that follow a ball: hardly modulated beside IMRT's 0.2 to 0.5.
    assert plan_complexity(plan, MACHINE.limits).modulation_complexity_score > 0.6


def test_each_level_has_its_aperture_within_the_larger_one() -> None:
    _, drawn = patient()
    fields = conformal_fields(drawn, LEVELS, MACHINE, FOUR, (0.0, 0.0, 0.0), "HFS", margin_mm=7.0)
    assert [(f.beam, f.level_gy) for f in fields[:3]] == [(1, 56.0), (1, 70.0), (2, 56.0)]
    for whole, part in zip(fields[::2], fields[1::2], strict=True):
        assert (part.aperture.jaw_x_mm, part.aperture.jaw_y_mm) == (whole.aperture.jaw_x_mm, whole.aperture.jaw_y_mm)
        shown = np.diff(part.aperture.leaves_mm, axis=0)[0] > 1.0
        assert shown.any()
        assert np.all(part.aperture.leaves_mm[0, shown] > whole.aperture.leaves_mm[0, shown])
        assert np.all(part.aperture.leaves_mm[1, shown] < whole.aperture.leaves_mm[1, shown])


def test_a_field_wider_than_the_span_is_refused() -> None:
    _, drawn = patient()
    narrow = replace(MACHINE, limits=replace(MACHINE.limits, leaf_span_mm=20.0))
    with pytest.raises(PlanError, match="leaf span"):
        conformal_fields(drawn, LEVELS, narrow, FOUR, (0.0, 0.0, 0.0), "HFS")


def _solved(doses, limits: DeliveryLimits, *, beam_of=(1, 2), organ_weight: float = 0.0):
    """Two target voxels of 50 Gy, one organ voxel; columns are apertures."""
    voxels = PlanningVoxels(
        GRID, np.arange(3), {"T": VoxelSet(np.array([0, 1]), np.ones(2)), "O": VoxelSet(np.array([2]), np.ones(1))}
    )
    terms = (LeastSquaresTerm("T", 50.0, 1.0), LeastSquaresTerm("O", 0.0, organ_weight))
    return aperture_mu(np.array(doses, dtype=float), voxels, terms, beam_of, limits)


FREE = DeliveryLimits(minimum_segment_mu=0.0, minimum_beam_mu=0.0)


def test_weights_solve_the_least_squares() -> None:
    """a·2 + b·1 = 50 and a·1 + b·2 = 50: 50/3 MU each; the residual is nothing."""
    solution = _solved([[2, 1], [1, 2], [1, 1]], FREE)
    np.testing.assert_allclose(solution.mu, 50 / 3)
    assert solution.objective == pytest.approx(0.0, abs=1e-20)
    assert solution.kkt_residual == pytest.approx(0.0, abs=1e-12)


def test_organs_pull_weakly_and_as_stated() -> None:
    """One aperture of 1 Gy/MU everywhere: minimise (w/50 − 1)² + 0.1·(w/50)², w = 50 / 1.1."""
    solution = _solved([[1], [1], [1]], FREE, beam_of=(1,), organ_weight=0.1)
    np.testing.assert_allclose(solution.mu, 50 / 1.1)


def test_short_segments_and_beams_are_left_out() -> None:
    """b would get 1 MU. Without it a = 50 · (2.45 + 2.4) / (2.45² + 2.4²)."""
    doses = [[2.45, 1.0], [2.40, 2.0], [0, 0]]
    free = _solved(doses, FREE).mu
    np.testing.assert_allclose(free[1], 1.0, atol=0.05)
    wanted = 50 * (2.45 + 2.40) / (2.45**2 + 2.40**2)
    for limits in (replace(FREE, minimum_segment_mu=2.0), replace(FREE, minimum_beam_mu=5.0)):
        left = _solved(doses, limits)
        np.testing.assert_allclose(left.mu, (wanted, 0.0))
        assert left.solved == 2
    same_beam = _solved(doses, replace(FREE, minimum_beam_mu=5.0), beam_of=(1, 1))
    np.testing.assert_allclose(same_beam.mu, free)
    with pytest.raises(PlanError, match="no field is left"):
        _solved(doses, replace(FREE, minimum_segment_mu=1000.0))


def test_unknown_structures_and_missing_beams_are_refused() -> None:
    with pytest.raises(ProtocolError, match="without contours"):
        make(levels=(("PTV99", 50.0),))
    with pytest.raises(ProtocolError, match="a beam"):
        make(beams=())
