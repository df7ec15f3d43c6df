"""The figures of a fraction report: match before and after, structures, dose today and its difference, DVH."""

from __future__ import annotations

from .blocks import FigureBlock, LegendEntry
from .dose_figures import dose_figures, dvh_figure
from .figure_view import Picture, View, make_panel, make_view, pictures, structure_colors, structure_legend
from .images import FractionImages
from .model import FractionReport
from .panel_svg import Layer
from .slices import overlay, png_uri

_VIEWS = (
    ("overlay", "Overlay"),
    ("checker", "Checkerboard"),
    ("planning", "Planning CT"),
    ("day", "Day"),
    ("blink", "Blink"),
)
_MATCH_LEGEND = (
    LegendEntry("planning CT only", "#0a5fc4", "#4d9dff", patch=True),
    LegendEntry("image of the day only", "#b35900", "#ff9a3c", patch=True),
    LegendEntry("both agree: grey", "#767676", "#9a9a9a", patch=True),
    LegendEntry("dim: outside the image of the day", "#3c3c3c", "#4a4a4a", patch=True),
)


def fraction_figures(report: FractionReport, images: FractionImages | None) -> dict[str, FigureBlock]:
    """Draw all figures for which there is something to draw.

    Returns
    -------
    dict
        By name: ``before``, ``after``, ``deformed``, ``structures``, ``dose``, ``difference``, ``dvh``.
    """
    colors = structure_colors(report, images)
    figures = {"dvh": dvh_figure(report, colors)} if report.dvh else {}
    if images is None:
        return figures
    view = make_view(report, images, colors)
    before = images.before_from_planning
    if before is not None:
        figures["before"] = _match_figure(
            view,
            pictures(images.day_hu, view.planes, before.apply),
            name="before",
            caption="Before the shift: isocentre on isocentre, as the patient was imaged",
        )
    if view.day:
        shifted = before is not None and images.shift_motion_lps is not None
        caption = (
            "After the shift (rounded; rotations that the table cannot make remain)"
            if shifted
            else "Match only: no couch shift is given, the image of the day is moved by the match itself"
        )
        figures["after"] = _match_figure(view, view.day, name="after", caption=caption)
        if images.structures_planned is not None or images.structures_day is not None:
            figures["structures"] = _structures_figure(view)
        figures.update(dose_figures(report, images, view))
    if images.deformation is not None:
        figures["deformed"] = _match_figure(
            view,
            pictures(images.day_hu, view.planes, images.deformation.apply),
            name="deformed",
            caption="After deformable registration: the image of the day pulled back onto the planning CT",
        )
    return figures


def _match_figure(view: View, day: tuple[Picture, ...], *, name: str, caption: str) -> FigureBlock:
    panels = []
    for plane, planning, moved in zip(view.planes, view.planning, day, strict=True):
        mixed = overlay(planning.grey, moved.grey, moved.covered)
        layers = (
            Layer(planning.uri, view="planning"),
            Layer(moved.uri, view="day"),
            Layer(png_uri(mixed), view="overlay"),
        )
        panels.append(make_panel(plane, layers, (), name=name, what=caption))
    return FigureBlock(name, caption, tuple(panels), _MATCH_LEGEND, _VIEWS)


def _structures_figure(view: View) -> FigureBlock:
    caption = "Structures after the shift on the image of the day: planned dashed, propagated solid"
    panels = []
    for index, (plane, day) in enumerate(zip(view.planes, view.day, strict=True)):
        lines = [cuts[index] for cuts in (*view.planned_lines.values(), *view.day_lines.values())]
        panels.append(make_panel(plane, (Layer(day.uri),), lines, name="structures", what=caption))
    names = tuple(dict.fromkeys((*view.day_lines, *view.planned_lines)))
    legend = structure_legend(names, view.colors)
    return FigureBlock("structures", caption, tuple(panels), legend)
