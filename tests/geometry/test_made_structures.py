"""Structures made of others: sides, distances and the laws of Boolean algebra."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imrt_core.geometry.contraction import SIDES, SideMargins, contract
from imrt_core.geometry.made_structures import (
    Combination,
    Making,
    Ring,
    StructureRecipe,
    WithMargin,
    make_structures,
    makeable,
)
from imrt_core.geometry.margins import expand
from imrt_core.geometry.structure_expression import parse_expression
from imrt_core.patient import (
    Contour,
    GeometryError,
    Grid,
    ProtocolError,
    Structure,
    StructureError,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import structure_volume_cc
from imrt_core.patient.grid import Direction
from imrt_core.patient.slabs import contour_slabs

#: Directions of a DICOM series whose first row and column lie as the scanner of each position sends them.
DIRECTIONS: dict[str, Direction] = {
    "HFS": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "HFP": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "FFS": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "FFP": ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)),
}
SPACING = (1.0, 1.25, 2.5)


def image(position: str = "HFS") -> Grid:
    """Anisotropic voxels centred on the origin, whatever way the axes run."""
    shape = (41, 81, 101)
    direction = DIRECTIONS[position]
    half = [0.5 * (n - 1) * s for n, s in zip(shape[::-1], SPACING, strict=True)]
    origin = tuple(-direction[a][a] * half[a] for a in range(3))
    return Grid(shape, SPACING, origin, direction)  # type: ignore[arg-type]


def box(name: str, lower: tuple[float, ...], upper: tuple[float, ...], kind: str = "ORGAN") -> Structure:
    """Exact rectangles on the slices z = k · 2.5 mm whose slabs fill lower … upper."""
    (x0, y0, z0), (x1, y1, z1) = lower, upper
    planes = np.arange(np.ceil((z0 + 1.25) / 2.5), np.floor((z1 - 1.25) / 2.5) + 1) * 2.5
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    contours = tuple(Contour(np.array([(x, y, z) for x, y in corners])) for z in planes)
    return Structure(name, contours, interpreted_type=kind)


ORGAN = box("Organ", (-12, -10, -11.25), (12, 10, 11.25))


def made(making: Making, *structures: Structure, grid: Grid | None = None, **options: object) -> Structure:
    recipe = StructureRecipe(name="Made", making=making, **options)  # type: ignore[arg-type]
    (structure,) = make_structures([recipe], StructureSet(structures or (ORGAN,)), grid or image()).structures
    return structure


def combined(text: str, *structures: Structure) -> Structure:
    return made(Combination(parse_expression(text, [s.name for s in structures]), text), *structures)


def extents(structure: Structure) -> np.ndarray:
    """Left, right, anterior, posterior, superior, inferior end in mm from the origin, slabs of the slices included."""
    points = np.concatenate([c.points_lps for c in structure.contours])
    (x0, y0, z0), (x1, y1, z1) = points.min(axis=0), points.max(axis=0)
    return np.array([x1, -x0, -y0, y1, z1 + 1.25, -z0 + 1.25])


VOXEL = np.array([1.0, 1.0, 1.25, 1.25, 2.5, 2.5])


@pytest.mark.parametrize("position", DIRECTIONS)
@pytest.mark.parametrize("inwards", [False, True])
@pytest.mark.parametrize("side", SIDES)
def test_a_margin_moves_its_own_side_in_every_patient_position(position: str, inwards: bool, side: str) -> None:
    """Left is +x of LPS, posterior +y, superior +z: the axes of the pixels have no say.

    The side that moves lies right within half a voxel. Beside it a surface may move within its voxel: a partial
    voxel is filled by what a margin along the surface brings.
    """
    margin = SideMargins(**{f"{side}_mm": 5.0})
    moved = extents(made(WithMargin("Organ", margin, inwards), grid=image(position))) - extents(ORGAN)
    expected = np.where(np.array(SIDES) == side, -5.0 if inwards else 5.0, 0.0)
    allowed = np.where(expected != 0, 0.5 * VOXEL, VOXEL)
    assert np.all(np.abs(moved - expected) <= allowed + 1e-6), dict(zip(SIDES, moved, strict=True))


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.floats(0, 8)] * 6), st.sampled_from(sorted(DIRECTIONS)), st.booleans())
def test_distances_are_right_within_the_voxel(margins: tuple[float, ...], position: str, inwards: bool) -> None:
    margin = SideMargins(**{f"{side}_mm": m for side, m in zip(SIDES, margins, strict=True)})
    moved = extents(made(WithMargin("Organ", margin, inwards), grid=image(position))) - extents(ORGAN)
    wrong = moved - (-1 if inwards else 1) * np.array(margins)
    assert np.all(np.abs(wrong) <= VOXEL), dict(zip(SIDES, wrong, strict=True))


def test_a_sphere_shrinks_into_a_sphere() -> None:
    grid = Grid((41, 41, 41), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
    radius = np.linalg.norm(grid.voxel_centres_lps(), axis=-1)
    ball = Volume(np.clip(0.5 + (30.0 - radius) / 2.0, 0, 1).astype(np.float32), grid)
    volume_mm3 = float(contract(ball, 12.0).array.sum()) * 8.0
    assert (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3) == pytest.approx(18.0, abs=0.3)


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.floats(0, 5)] * 6), st.integers(0, 2**32 - 1))
def test_growing_then_shrinking_loses_nothing_and_the_other_way_gains_nothing(
    margins: tuple[float, ...], seed: int
) -> None:
    """A ⊆ (A + m) − m and (A − m) + m ⊆ A, for the 0.5 level of random lumps, voxels of which the margin may miss."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((14, 16, 18), dtype=np.float32)
    inside[5:9, 6:10, 6:12] = rng.random((4, 4, 6)) > 0.3
    inside[6:8, 7:9, 7:11] = 1
    mask = Volume(inside, Grid(inside.shape, (2.0, 1.5, 2.5)))
    closed = contract(expand(mask, margins), margins).array
    assert np.all(closed[inside == 1] >= 0.5 - 0.05)
    smaller = contract(mask, margins)
    if np.any(smaller.array >= 0.5):
        opened = expand(smaller, margins).array
        assert np.all(inside[opened > 0.5 + 0.05] == 1)


def naive_contract(mask: Volume, margin_mm: float) -> np.ndarray:
    """Voxel centres of a Boolean mask that are further than the margin from every outer voxel's nearest face."""
    padded = np.pad(mask.array, 1)
    spacing = np.array(mask.grid.spacing_mm[::-1])
    outer = np.argwhere(padded == 0) - 1
    left = np.zeros(mask.array.shape, dtype=bool)
    for centre in np.argwhere(mask.array == 1):
        apart = np.maximum(np.abs(outer - centre) - 0.5, 0) * spacing
        left[tuple(centre)] = np.min(np.linalg.norm(apart, axis=1)) >= margin_mm
    return left


def test_contraction_against_a_naive_twin() -> None:
    rng = np.random.default_rng(3)
    inside = (rng.random((12, 12, 12)) > 0.02).astype(np.float32)
    mask = Volume(inside, Grid(inside.shape, (2.0, 2.0, 2.0)))
    ours = contract(mask, 4.0).array >= 0.5
    # the naive distance is to a voxel's faces, ours to its surface as seen from the centre: a voxel apart at corners
    nearer, further = naive_contract(mask, 3.0), naive_contract(mask, 5.0)
    assert np.all(nearer[ours]) and np.all(ours[further])
    assert 0 < further.sum() < nearer.sum()


def test_a_ring_lies_between_its_distances_and_in_the_body() -> None:
    body = box("External", (-45, -35, -40), (45, 35, 40), "EXTERNAL")
    ring = made(Ring("Organ", 5.0, 10.0), ORGAN, body)  # 2 and 4 slices
    a, b, c = 24.0, 20.0, 22.5

    def grown(m: float) -> float:
        """Steiner's formula for the box with a margin."""
        return a * b * c + 2 * m * (a * b + b * c + c * a) + np.pi * m**2 * (a + b + c) + 4 * np.pi * m**3 / 3

    # a quarter of a voxel of surface is 3 %
    assert structure_volume_cc(ring) == pytest.approx((grown(10.0) - grown(5.0)) / 1000, rel=0.05)
    np.testing.assert_allclose(extents(ring) - extents(ORGAN), 10.0, atol=1.25)
    thin = box("External", (-45, -35, -40), (45, 15, 40), "EXTERNAL")
    assert extents(made(Ring("Organ", 4.0, 10.0), ORGAN, thin))[3] == pytest.approx(15.0, abs=0.7)
    with pytest.raises(ProtocolError, match="inner < outer"):
        Ring("Organ", 5.0, 5.0)


corner = st.tuples(st.integers(-14, 2), st.integers(-12, 2), st.sampled_from([-4, -2, 0]))
size = st.tuples(st.integers(6, 16), st.integers(6, 14), st.sampled_from([2, 4]))  # no part of a single slice


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.tuples(*[st.tuples(corner, size)] * 3))
@example((((0, -1, -2), (6, 10, 2)), ((-9, 2, 0), (9, 8, 4)), ((-5, -10, -4), (7, 9, 4))))  # A and B share a face
def test_the_laws_of_boolean_algebra_hold_by_volume(
    numbers: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...],
) -> None:
    def a_box(name: str, low: tuple[int, int, int], wide: tuple[int, int, int]) -> Structure:
        lower = (low[0], low[1] * 1.25, low[2] * 2.5 - 1.25)
        upper = (low[0] + wide[0], (low[1] + wide[1]) * 1.25, (low[2] + wide[2]) * 2.5 - 1.25)
        return box(name, lower, upper)

    three = [a_box(n, low, wide) for n, (low, wide) in zip("ABC", numbers, strict=True)]

    def volume(text: str) -> float:
        recipe = StructureRecipe(name="Made", making=Combination(parse_expression(text, "ABC"), text))
        result = make_structures([recipe], StructureSet(tuple(three)), image())
        # plane by plane: what is left of A may lie in two parts, and a gap of two slices would count as undrawn
        return sum(float(contour_slabs(s).areas_mm2.sum()) * 2.5 / 1000 for s in result.structures)

    def exact(keep: Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.bool_]]) -> float:
        """Volume in cm³ by counting cells of 0.5 × 0.625 × 2.5 mm, whose faces all boxes share."""
        x, y = (np.arange(-80, 120) + 0.5) * 0.5, (np.arange(-80, 120) + 0.5) * 0.625
        z = np.arange(-10, 16) * 2.5
        inside = []
        for s in three[:2]:
            points = np.concatenate([c.points_lps for c in s.contours])
            low, high = points.min(axis=0), points.max(axis=0)
            per_axis = [(v > lo) & (v < hi) for v, lo, hi in ((x, low[0], high[0]), (y, low[1], high[1]))]
            per_axis.append((z > low[2] - 1) & (z < high[2] + 1))
            inside.append(per_axis[2][:, None, None] & per_axis[1][None, :, None] & per_axis[0][None, None, :])
        return float(np.count_nonzero(keep(*inside)) * 0.5 * 0.625 * 2.5 / 1000)

    # where two faces fall into one column of pixels (0.5 or 0.625 mm) it goes to both: 16 × 12.5 mm of such a face
    slack = 0.15
    assert volume("A + B") == pytest.approx(exact(lambda a, b: a | b), abs=slack, rel=0.02)
    assert volume("A & B") == pytest.approx(exact(lambda a, b: a & b), abs=slack, rel=0.02)
    assert volume("A - B") == pytest.approx(exact(lambda a, b: a & ~b), abs=slack, rel=0.02)
    assert volume("A + B") + volume("A & B") == pytest.approx(volume("A") + volume("B"), abs=slack)
    assert volume("A - B") + volume("A & B") == pytest.approx(volume("A"), abs=slack)
    assert volume("A - (B + C)") == pytest.approx(volume("A - B - C"), abs=slack)
    assert volume("A - (B & C)") == pytest.approx(volume("(A - B) + (A - C)"), abs=slack)
    assert volume("A & (B + C)") == pytest.approx(volume("(A & B) + (A & C)"), abs=slack)
    assert volume("A - A") == 0.0
    assert volume("A + B") == volume("B + A") and volume("A & B") == volume("B & A")


def test_the_winner_of_an_overlap_keeps_it_and_the_gap() -> None:
    low, high = box("PTV54", (-20, -10, -11.25), (8, 10, 11.25)), box("PTV70", (-2, -10, -11.25), (20, 10, 11.25))
    left = made(Combination(parse_expression("PTV54", ["PTV54"]), "PTV54"), low, high, yields_to=("PTV70",), gap_mm=3.0)
    found = extents(left)
    assert found[0] == pytest.approx(-5.0, abs=0.6)  # 3 mm short of the winner's right side
    np.testing.assert_allclose(found[1:], extents(low)[1:], atol=0.1)
    assert "less PTV70 + 3 mm" in left.description


def test_recipes_find_one_another_whatever_their_order() -> None:
    names = ["Organ", "PRV", "Shell", "Rest"]
    recipes = [
        StructureRecipe(name="Rest", making=Combination(parse_expression("Shell & PRV", names), "Shell & PRV")),
        StructureRecipe(name="Shell", making=Combination(parse_expression("PRV - Organ", names), "PRV - Organ")),
        StructureRecipe(name="PRV", making=WithMargin("Organ", SideMargins.uniform(4.0))),
        StructureRecipe(name="None", making=WithMargin("Absent", SideMargins.uniform(4.0))),
        StructureRecipe(name="Organ", making=WithMargin("Rest", SideMargins.uniform(4.0))),
    ]
    assert [r.name for r in makeable(recipes, ["Organ"])] == ["PRV", "Shell", "Rest"]
    result = make_structures(recipes, StructureSet((ORGAN,)), image())
    assert [s.name for s in result.structures] == ["PRV", "Shell", "Rest"]
    assert [s.number for s in result.structures] == [1, 2, 3]
    for first, second in itertools.pairwise(result.structures[1:]):
        assert structure_volume_cc(first) == pytest.approx(structure_volume_cc(second), rel=0.02)
    with pytest.raises(ProtocolError, match="Rest → Shell → PRV → Organ → Rest"):
        makeable(recipes, [])


def test_what_leaves_nothing_is_named_and_what_is_made_of_it_too() -> None:
    names = ["Organ", "Core"]
    core = StructureRecipe(name="Core", making=WithMargin("Organ", SideMargins.uniform(30.0), inwards=True))
    more = StructureRecipe(name="More", making=Combination(parse_expression("Organ - Core", names), "Organ - Core"))
    result = make_structures([core, more], StructureSet((ORGAN,)), image())
    assert result.structures == () and [r.name for r in result.empty] == ["Core", "More"]


def test_a_single_slice_is_no_volume_and_a_gap_of_one_slice_is_told() -> None:
    names = ["A", "B"]
    less = StructureRecipe(name="Made", making=Combination(parse_expression("A - B", names), "A - B"))
    whole, most = box("A", (-9, -9, -6.25), (9, 9, 6.25)), box("B", (-9, -9, -6.25), (9, 9, 3.75))
    result = make_structures([less], StructureSet((whole, most)), image())
    assert result.structures == () and result.empty == (less,)
    longer, middle = box("A", (-9, -9, -8.75), (9, 9, 8.75)), box("B", (-9, -9, -3.75), (9, 9, 1.25))
    result = make_structures([less], StructureSet((longer, middle)), image())
    assert result.warnings == ("Made: the gap between z -5 and 2.5 mm counts as contours not drawn",)


def test_refusals() -> None:
    with pytest.raises(GeometryError, match="left -1"):
        SideMargins(left_mm=-1.0)
    with pytest.raises(StructureError, match="empty"):
        contract(Volume(np.zeros((3, 3, 3), np.float32), Grid((3, 3, 3), (1.0, 1.0, 1.0))), 1.0)
    with pytest.raises(GeometryError, match="negative"):
        contract(Volume(np.ones((3, 3, 3), np.float32), Grid((3, 3, 3), (1.0, 1.0, 1.0))), (1.0, 2.0))
