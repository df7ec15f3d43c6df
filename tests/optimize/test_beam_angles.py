"""The search for gantry angles on a patient for whom the right answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.machine import load_machine
from imrt_core.optimize import (
    AngleProgress,
    AngleSearch,
    AngleSelection,
    AvoidanceSector,
    BeamAvoidance,
    BeamObstacles,
    EquidistantBeams,
    select_angles,
)
from imrt_core.optimize.arrangement import angle_between
from imrt_core.patient import Goal, Grid, PlanError, ProtocolError, StructureSet, Volume
from imrt_core.patient.contours import structure_from_mask

MACHINE = load_machine("generic_6mv")
GRID = Grid((13, 45, 45), (4.0, 4.0, 4.0), (-88.0, -88.0, -24.0))
GOALS = (Goal.parse("PTV D95%[Gy] >= 50"), Goal.parse("Organ Mean[Gy] < 5"))
SEARCH = AngleSearch(step_deg=30.0, moves=(1, 2), iterations=10, final_iterations=25, sweeps=2)


def patient() -> tuple[Volume, StructureSet]:
    """A water cylinder, a round target in its middle, and an organ right in front of that."""
    x, y, z = np.moveaxis(GRID.voxel_centres_lps(), -1, 0)
    parts = {
        "External": np.hypot(x, y) < 80.0,
        "PTV": (np.hypot(x, y) < 16.0) & (np.abs(z) < 14.0),
        "Organ": (np.hypot(x, y + 48.0) < 18.0) & (np.abs(z) < 22.0),
    }
    kinds = {"External": "EXTERNAL", "PTV": "PTV", "Organ": "ORGAN"}
    masks = {name: Volume(inside.astype(np.float32), GRID) for name, inside in parts.items()}
    structures = StructureSet(
        tuple(
            structure_from_mask(mask, name=name, number=n, interpreted_type=kinds[name])
            for n, (name, mask) in enumerate(masks.items(), start=1)
        )
    )
    return masks["External"], structures


def select(
    search: AngleSearch = SEARCH, *, seen: list[AngleProgress] | None = None, sectors: tuple[AvoidanceSector, ...] = ()
) -> AngleSelection:
    red, structures = patient()
    return select_angles(
        red,
        structures,
        MACHINE,
        goals=GOALS,
        prescription_gy=[("PTV", 50.0)],
        fractions=25,
        start=EquidistantBeams(count=3),
        obstacles=BeamObstacles(MACHINE, BeamAvoidance(sectors=sectors), structures, ["PTV"], (0.0, 0.0, 0.0), "HFS"),
        search=search,
        progress=None if seen is None else seen.append,
    )


@pytest.fixture(scope="module")
def found() -> tuple[AngleSelection, list[AngleProgress]]:
    seen: list[AngleProgress] = []
    return select(seen=seen), seen


def test_no_beam_axis_meets_the_organ_in_front(found: tuple[AngleSelection, list[AngleProgress]]) -> None:
    selection, _ = found
    assert [b.gantry_deg for b in selection.equidistant] == [0.0, 120.0, 240.0]
    # organ of 18 mm at 48 mm: an axis meets it within asin(18 / 48) = 22° of gantry 0
    assert all(angle_between(beam.gantry_deg, 0.0) > 22.0 for beam in selection.beams)
    assert selection.objective < 0.95 * selection.equidistant_objective
    assert not selection.timed_out and "Gantry angles chosen" in selection.notes[0]


def test_progress_and_the_same_inputs_give_the_same_angles(
    found: tuple[AngleSelection, list[AngleProgress]],
) -> None:
    selection, seen = found
    assert [p.tries for p in seen] == list(range(2, selection.tries - 1))
    assert seen[-1].objective < seen[0].objective and sorted(seen[-1].gantry_deg) == [
        b.gantry_deg for b in selection.beams
    ]
    again = select()
    assert again.beams == selection.beams and again.objective == selection.objective


def test_angles_keep_apart_and_out_of_avoided_sectors() -> None:
    selection = select(sectors=(AvoidanceSector(from_deg=80.0, to_deg=150.0),))
    angles = [b.gantry_deg for b in selection.beams]
    assert not any(80.0 <= a <= 150.0 for a in angles)
    assert len(angles) == 3
    assert any("is moved to" in note for note in selection.notes)
    for n, a in enumerate(angles):
        assert all(angle_between(a, b) >= SEARCH.apart_deg for b in angles[:n])


def test_a_time_limit_leaves_the_equidistant_beams() -> None:
    selection = select(AngleSearch(step_deg=90.0, time_limit_s=1e-9, final_iterations=5, iterations=2))
    assert selection.timed_out and selection.beams == selection.equidistant
    assert any("cut the search" in note for note in selection.notes)


def test_refusals() -> None:
    with pytest.raises(ProtocolError, match="time limit"):
        AngleSearch(time_limit_s=0.0)
    with pytest.raises(ProtocolError, match="cannot be made"):
        AngleSearch(moves=())
    with pytest.raises(PlanError, match="no beam is left"):
        select(sectors=(AvoidanceSector(from_deg=0.0, to_deg=360.0),))
