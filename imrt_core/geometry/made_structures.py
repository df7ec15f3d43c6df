"""Structures made from others: margins, rings, Boolean combinations, and which of two gives way where they overlap.

Everything is made once, as contours on the slices of the image, and joins the structure set: optimiser, evaluation and
export then treat it as if it had been drawn.

In a voxel that two surfaces cross, union takes the larger fraction, intersection the smaller, and difference what the
first has more than the second: |A ∪ B| + |A ∩ B| = |A| + |B| and |A − B| + |A ∩ B| = |A| hold exactly for the masks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, ProtocolError, Structure, StructureSet, Volume
from imrt_core.patient.contours import contours_from_mask, mask_from_structure
from imrt_core.patient.slabs import contour_slabs

from .contraction import SideMargins, contract
from .margins import expand
from .structure_expression import Combined, Expression, Margined, Named, Operator, names_in

#: Pixels on which structures are made are at most this large; for Boolean combinations, where two surfaces may cross
#: one pixel, the second unless that makes too many.
_PIXEL_MM = 1.5
_FINE_PIXEL_MM = 0.6
_MOST_VOXELS = 30_000_000
#: Room around what is worked on, in pixels of the image.
_ROOM = 2

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class WithMargin:
    """A structure with a margin on each side; ``inwards`` shrinks it."""

    of: str
    margin: SideMargins
    inwards: bool = False

    def __str__(self) -> str:
        return f"{self.of} {'−' if self.inwards else '+'} {self.margin}"


@dataclass(frozen=True)
class Ring:
    """What lies between two distances from a structure, inside EXTERNAL where there is one."""

    of: str
    inner_mm: float
    outer_mm: float

    def __post_init__(self) -> None:
        if not 0 <= self.inner_mm < self.outer_mm < float("inf"):
            raise ProtocolError(
                "a ring needs two distances",
                found=f"{self.inner_mm} to {self.outer_mm} mm",
                expected="0 <= inner < outer",
            )

    def __str__(self) -> str:
        return f"ring of {self.inner_mm:g} to {self.outer_mm:g} mm around {self.of}"


@dataclass(frozen=True)
class Combination:
    """A Boolean combination; ``text`` is how it was written."""

    expression: Expression
    text: str

    def __str__(self) -> str:
        return self.text


Making = WithMargin | Ring | Combination


@dataclass(frozen=True, kw_only=True)
class StructureRecipe:
    """How a structure is made.

    Parameters
    ----------
    name : str
        Of the structure that is made.
    making : WithMargin, Ring or Combination
        What it is made of.
    yields_to : tuple of str
        Structures that win where they overlap it: they are taken from it, last of all.
    gap_mm : float
        Distance that it keeps from them.
    interpreted_type : str
        RT ROI Interpreted Type.
    """

    name: str
    making: Making
    yields_to: tuple[str, ...] = ()
    gap_mm: float = 0.0
    interpreted_type: str = "AVOIDANCE"

    @property
    def needs(self) -> tuple[str, ...]:
        """Structures that must be there first."""
        making = self.making
        of = names_in(making.expression) if isinstance(making, Combination) else (making.of,)
        return tuple(dict.fromkeys((*of, *self.yields_to)))

    def __str__(self) -> str:
        gap = f" + {self.gap_mm:g} mm" if self.gap_mm else ""
        return str(self.making) + "".join(f", less {name}{gap}" for name in self.yields_to)


@dataclass(frozen=True, eq=False)
class MadeStructures:
    """What was made.

    Parameters
    ----------
    structures : tuple of Structure
        In the order of making, numbered after those that were there.
    recipes : tuple of StructureRecipe
        One for each of them.
    empty : tuple of StructureRecipe
        Those that leave nothing for this patient, or a single slice, which is no volume.
    warnings : tuple of str
        What a person should know.
    """

    structures: tuple[Structure, ...]
    recipes: tuple[StructureRecipe, ...]
    empty: tuple[StructureRecipe, ...]
    warnings: tuple[str, ...] = ()


def makeable(recipes: Sequence[StructureRecipe], drawn: Collection[str]) -> tuple[StructureRecipe, ...]:
    """Return the recipes that can be followed from some structures, in an order in which each finds what it needs.

    A structure that is drawn already is not made; one that needs an absent structure is left out.

    Raises
    ------
    ProtocolError
        If structures are made of one another in a circle.
    """
    wanted = {recipe.name: recipe for recipe in recipes if recipe.name not in drawn}
    done: list[StructureRecipe] = []
    state: dict[str, bool] = {}

    def visit(name: str, path: tuple[str, ...]) -> bool:
        if name in drawn:
            return True
        if name in path:
            circle = " → ".join((*path[path.index(name) :], name))
            raise ProtocolError("structures are made of one another", found=circle, expected="no circle")
        if name not in wanted:
            return False
        if name not in state:
            # every one is visited, so that a circle is found wherever it lies
            found = [visit(other, (*path, name)) for other in wanted[name].needs]
            state[name] = all(found)
            if state[name]:
                done.append(wanted[name])
        return state[name]

    for name in wanted:
        visit(name, ())
    return tuple(done)


def make_structures(recipes: Sequence[StructureRecipe], structures: StructureSet, image: Grid) -> MadeStructures:
    """Make structures from those of a set.

    Parameters
    ----------
    recipes : sequence of StructureRecipe
        In any order.
    structures : StructureSet
        What is drawn, LPS mm. Empty ones count as absent.
    image : Grid
        Image whose transverse slices carry the contours. What would reach beyond it is cut off.

    Raises
    ------
    ProtocolError
        If recipes form a circle.
    StructureError, GeometryError
        If contours cannot be taken for a volume, or the image is oblique.
    """
    there = {s.name: s for s in structures if not s.is_empty}
    number = max((s.number for s in structures), default=0)
    external = structures.external()
    made: list[Structure] = []
    followed: list[StructureRecipe] = []
    empty: list[StructureRecipe] = []
    warnings: list[str] = []
    for recipe in makeable(recipes, there):
        if any(name not in there for name in recipe.needs):  # needs one that turned out empty
            empty.append(recipe)
            continue
        # two surfaces that share a pixel's column may leave a line there, which encloses nothing
        contours = contours_from_mask(_mask_of(recipe, there, external, image))
        if len({float(contour.points_lps[0, 2]) for contour in contours}) < 2:
            empty.append(recipe)
            continue
        number += 1
        structure = Structure(
            recipe.name,
            contours,
            number=number,
            interpreted_type=recipe.interpreted_type,
            color_rgb=there[recipe.needs[0]].color_rgb,
            description=f"Made: {recipe}",
        )
        bridged = contour_slabs(structure).bridged_mm
        warnings += [
            f"{recipe.name}: the gap between z {a:g} and {b:g} mm counts as contours not drawn" for a, b in bridged
        ]
        there[recipe.name] = structure
        made.append(structure)
        followed.append(recipe)
    return MadeStructures(tuple(made), tuple(followed), tuple(empty), tuple(warnings))


def _mask_of(recipe: StructureRecipe, there: dict[str, Structure], external: Structure | None, image: Grid) -> Volume:
    making = recipe.making
    reach_mm = _reach_mm(recipe)
    needed = [there[name] for name in recipe.needs]
    grid = _working_grid(image, needed, reach_mm, _PIXEL_MM)
    if isinstance(making, Combination) and reach_mm == 0:
        fine = _working_grid(image, needed, reach_mm, _FINE_PIXEL_MM)
        grid = fine if np.prod(fine.shape) <= _MOST_VOXELS else grid

    def mask(name: str) -> Volume:
        return mask_from_structure(there[name], grid)

    def value(expression: Expression) -> FloatArray:
        if isinstance(expression, Named):
            return _array(mask(expression.name))
        if isinstance(expression, Margined):
            return _moved(mask(expression.name), expression.margin_mm)
        return _combined(expression.operator, [value(term) for term in expression.terms])

    if isinstance(making, Combination):
        result = value(making.expression)
    elif isinstance(making, Ring):
        body = None if external is None else _array(mask_from_structure(external, grid))
        whole = mask(making.of)
        result = _moved(whole, making.outer_mm) - _moved(whole, making.inner_mm)
        result = result if body is None else np.minimum(result, body)
    else:
        shape = contract if making.inwards else expand
        result = _array(shape(mask(making.of), making.margin.by_side_mm))
    winners = [_moved(mask(name), recipe.gap_mm) for name in recipe.yields_to]
    return Volume(_combined(Operator.DIFFERENCE, [result, *winners]) if winners else result, grid)


def _array(mask: Volume) -> FloatArray:
    return np.asarray(mask.array, dtype=np.float32)


def _moved(mask: Volume, margin_mm: float) -> FloatArray:
    """Grown or shrunk on all sides."""
    if not np.any(mask.array >= 0.5):  # too thin for these voxels to hold a surface
        return _array(mask)
    return _array(expand(mask, margin_mm) if margin_mm >= 0 else contract(mask, -margin_mm))


def _combined(operator: Operator, parts: Sequence[FloatArray]) -> FloatArray:
    if operator is Operator.UNION:
        return np.asarray(np.max(parts, axis=0))
    if operator is Operator.INTERSECTION:
        return np.asarray(np.min(parts, axis=0))
    return np.asarray(np.maximum(parts[0] - np.max(parts[1:], axis=0), 0.0), dtype=np.float32)


def _reach_mm(recipe: StructureRecipe) -> float:
    making = recipe.making
    if isinstance(making, Ring):
        own = making.outer_mm
    elif isinstance(making, WithMargin):
        own = 0.0 if making.inwards else max(making.margin.by_side_mm)
    else:
        own = _largest_margin_mm(making.expression)
    return max(own, recipe.gap_mm)


def _largest_margin_mm(expression: Expression) -> float:
    if isinstance(expression, Combined):
        return max(map(_largest_margin_mm, expression.terms))
    return max(expression.margin_mm, 0.0) if isinstance(expression, Margined) else 0.0


def _working_grid(image: Grid, structures: Sequence[Structure], reach_mm: float, pixel_mm: float) -> Grid:
    """Return the image's slices around some structures, its pixels divided where they are large."""
    points = np.concatenate([c.points_lps for s in structures for c in s.contours])
    index = image.to_index(points)
    spacing = np.asarray(image.spacing_mm)
    room = reach_mm / spacing + _ROOM
    last = np.array(image.shape[::-1]) - 1
    first = np.clip(np.floor(index.min(axis=0) - room), 0, last).astype(int)
    end = np.clip(np.ceil(index.max(axis=0) + room), 0, last).astype(int)
    parts = np.maximum(np.ceil(spacing / pixel_mm - 1e-6), 1).astype(int)
    parts[2] = 1
    count = (end - first + 1) * parts
    origin = image.to_lps(first - 0.5 + 0.5 / parts)
    dx, dy, dz = spacing / parts
    return Grid(
        shape=(int(count[2]), int(count[1]), int(count[0])),
        spacing_mm=(float(dx), float(dy), float(dz)),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=image.direction,
    )
