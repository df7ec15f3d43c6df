"""What the figures of one report share: planes, pictures on them, structure lines and legends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import RigidTransform, Structure, StructureSet, Volume

from .blocks import LegendEntry, Panel
from .colors import GROUND_IMAGE, Rgb, css, distinct, readable
from .contours_svg import contour_lines, path_data
from .images import FractionImages
from .model import FractionReport
from .panel_svg import Layer, Line, panel_svg
from .slices import AIR_HU, Image8, Plane, grey, planes_through, png_uri, sample_on

#: More lines than this on one picture hide it: targets first, then the outline, then structures with a goal.
_MOST_LINES = 14

PointMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image on a plane: grey bytes, where it holds data, and the PNG."""

    grey: Image8
    covered: NDArray[np.bool_]
    uri: str


@dataclass(frozen=True, eq=False)
class View:
    """Planes, pictures, structure lines and colours of one report; ``day`` is empty where the match is missing.

    ``planned_lines`` and ``day_lines``: by structure name, one line for each plane.
    """

    planes: tuple[Plane, Plane, Plane]
    planning: tuple[Picture, ...]
    day_from_planning: RigidTransform | None
    day: tuple[Picture, ...]
    planned_lines: dict[str, tuple[Line, ...]]
    day_lines: dict[str, tuple[Line, ...]]
    colors: Mapping[str, Rgb]


def structure_colors(report: FractionReport, images: FractionImages | None) -> dict[str, Rgb]:
    """Give every structure that a figure shows one colour, the same in all figures."""
    sets = (images.structures_planned, images.structures_day) if images is not None else ()
    own = {s.name: s.color_rgb for set_ in sets if set_ is not None for s in set_}
    wanted = [(name, own[name]) for name in shown_names(report, *sets)]
    wanted += [(pair.structure, own.get(pair.structure, pair.color_rgb)) for pair in report.dvh]
    return distinct(wanted)


def make_view(report: FractionReport, images: FractionImages, colors: Mapping[str, Rgb]) -> View:
    """Choose the planes, sample both images on them, the day's after the shift, and cut the structures."""
    after = images.after_from_planning
    corners = _corners_lps(images.day_hu)
    covered = after.inverse().apply(corners) if after is not None else None
    planes = planes_through(images.planning_hu, images.isocentre_lps, covered_lps=covered)
    planning = pictures(images.planning_hu, planes, lambda points: points)
    day = pictures(images.day_hu, planes, after.apply) if after is not None else ()
    if after is None:
        return View(planes, planning, after, day, {}, {}, colors)
    names = shown_names(report, images.structures_day, images.structures_planned)
    planned_lines = _lines(images.structures_planned, names, planes, None, colors, planned=True)
    day_lines = _lines(images.structures_day, names, planes, after, colors, planned=False)
    return View(planes, planning, after, day, planned_lines, day_lines, colors)


def pictures(hu: Volume, planes: Sequence[Plane], frame_from_planning: PointMap) -> tuple[Picture, ...]:
    """Sample an image on the planes, through a map of points."""
    made = []
    for plane in planes:
        values = sample_on(hu, frame_from_planning(plane.points_lps()), outside=np.nan)
        covered = np.isfinite(values)
        picture = grey(np.where(covered, values, np.float32(AIR_HU)))
        # No data is transparent, not black: in a checkerboard the other image shows through.
        shown = picture if covered.all() else np.stack([picture, np.uint8(255) * covered.astype(np.uint8)], axis=-1)
        made.append(Picture(picture, covered, png_uri(shown)))
    return tuple(made)


def _corners_lps(volume: Volume) -> NDArray[np.float64]:
    nz, ny, nx = volume.grid.shape
    return volume.grid.to_lps([[i, j, k] for i in (0, nx - 1) for j in (0, ny - 1) for k in (0, nz - 1)])


def make_panel(plane: Plane, layers: Sequence[Layer], lines: Sequence[Line], *, name: str, what: str) -> Panel:
    """Draw one plane for the page and for print."""
    sides = {
        "transverse": "patient left on the right of the picture, anterior at the top",
        "coronal": "patient left on the right of the picture, superior at the top",
        "sagittal": "anterior on the left of the picture, superior at the top",
    }[plane.name]
    alt = f"{plane.name.capitalize()} plane through the isocentre, {sides}. {what}"
    unique = f"{name}-{plane.name}"
    return Panel(
        title=plane.name.capitalize(),
        alt=alt,
        svg=panel_svg(plane, layers, lines, alt=alt, unique=unique),
        print_svg=panel_svg(plane, layers, lines, alt=alt, unique=unique, for_print=True),
        width=plane.extent_mm[2],
    )


def shown_names(report: FractionReport, *sets: StructureSet | None) -> tuple[str, ...]:
    """Choose the structures to draw: targets, the outline, those with goals; all where there are no such."""
    goals = {line.parsed.structure for line in report.goals}
    present: dict[str, Structure] = {s.name: s for set_ in sets if set_ is not None for s in set_ if not s.is_empty}

    def rank(structure: Structure) -> int:
        if structure.is_target:
            return 0
        if structure.interpreted_type.upper() == "EXTERNAL":
            return 1
        return 2 if structure.name in goals else 3

    ordered = sorted(present.values(), key=rank)
    wanted = [s.name for s in ordered if rank(s) < 3] or [s.name for s in ordered]
    return tuple(wanted[:_MOST_LINES])


def target_names(structures: StructureSet | None, view: View) -> tuple[str, ...]:
    """Choose of the lines of the day the targets, or the first few where none is a target."""
    if structures is None:
        return ()
    names = tuple(view.day_lines)
    return tuple(name for name in names if structures[name].is_target) or names[:4]


def _lines(
    structures: StructureSet | None,
    names: Sequence[str],
    planes: Sequence[Plane],
    frame_from_planning: RigidTransform | None,
    colors: Mapping[str, Rgb],
    *,
    planned: bool,
) -> dict[str, tuple[Line, ...]]:
    """Cut structures by the planes: planned ones dashed, those of the day solid."""
    if structures is None:
        return {}
    what = "planned" if planned else "today"
    return {
        name: tuple(
            Line(path_data(lines), _line_color(colors[name]), f"{name}, {what}", dash=planned)
            for lines in contour_lines(structures[name], planes, frame_from_planning=frame_from_planning)
        )
        for name in names
        if name in structures
    }


def structure_legend(names: Sequence[str], colors: Mapping[str, Rgb]) -> tuple[LegendEntry, ...]:
    """Name the lines; the lines lie on black pictures, so their colours hold on both grounds of the page."""
    entries = []
    for name in names:
        color = _line_color(colors[name])
        entries.append(LegendEntry(name, color, color, black=True))
    return tuple(entries)


def _line_color(color: Rgb) -> str:
    return css(readable(color, GROUND_IMAGE, ratio=4.5))
