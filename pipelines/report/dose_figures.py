"""Figures of dose: today's colour wash, its difference from plan, and the dose-volume histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import contourpy
import numpy as np
from numpy.typing import NDArray

from .blocks import FigureBlock, LegendEntry, Panel
from .colors import (
    GROUND_DARK,
    GROUND_LIGHT,
    Rgb,
    css,
    difference_rgba,
    difference_stops,
    dose_rgba,
    dose_stops,
    readable,
)
from .contours_svg import path_data
from .dvh_svg import dvh_svg
from .figure_view import View, make_panel, structure_legend, target_names
from .images import FractionImages
from .model import FractionReport
from .panel_svg import Layer, Line, color_bar_svg
from .slices import Plane, png_uri, sample_on
from .words import number

#: More curves than this in one plot cannot be told apart.
_MOST_CURVES = 12
_WASH_FLOOR = 0.1


def dose_figures(report: FractionReport, images: FractionImages, view: View) -> dict[str, FigureBlock]:
    """Draw ``dose`` and ``difference``, as far as the doses are there."""
    day_from_planning = view.day_from_planning
    if images.course_dose_today_gy is None or day_from_planning is None:
        return {}
    today = [
        sample_on(images.course_dose_today_gy, day_from_planning.apply(plane.points_lps()), outside=np.nan)
        for plane in view.planes
    ]
    figures = {"dose": _wash(report, images, view, today)}
    if images.course_dose_planned_gy is not None:
        planned = [sample_on(images.course_dose_planned_gy, p.points_lps(), outside=np.nan) for p in view.planes]
        differences = [a - b for a, b in zip(today, planned, strict=True)]
        figures["difference"] = _difference(images, view, differences)
    return figures


def _wash(
    report: FractionReport,
    images: FractionImages,
    view: View,
    doses_gy: Sequence[NDArray[np.float32]],
) -> FigureBlock:
    prescription = max((gy for _, gy in report.plan.prescription_gy), default=0.0) if report.plan else 0.0
    largest = max(_largest(dose) for dose in doses_gy)
    top = 1.1 * (prescription or largest or 1.0)
    names = target_names(images.structures_day, view)
    panels = []
    for index, (plane, day, dose) in enumerate(zip(view.planes, view.day, doses_gy, strict=True)):
        lines = [view.day_lines[name][index] for name in names]
        lines += _isodoses(plane, dose, prescription) if prescription else []
        layers = (Layer(day.uri), Layer(png_uri(dose_rgba(dose, top_gy=top, floor=_WASH_FLOOR))))
        panels.append(make_panel(plane, layers, lines, name="dose", what="Dose of the day, colour wash."))
    texts = ("0 Gy", number(top / 2, 0, "Gy"), number(top, 0, "Gy"))
    panels.append(_bar(dose_stops(), texts, "Dose, course scale"))
    note = (
        f"Wash from {number(_WASH_FLOOR * top, 0, 'Gy')} up; highest dose in these planes {number(largest, 1, 'Gy')}."
    )
    if prescription:
        note += " White lines: 95 % of the prescription solid, 50 % dashed."
    caption = "Dose of the day × planned fractions, on today's anatomy after the shift"
    return FigureBlock("dose", caption, tuple(panels), structure_legend(names, view.colors), note=note)


def _difference(
    images: FractionImages,
    view: View,
    differences_gy: Sequence[NDArray[np.float32]],
) -> FigureBlock:
    lowest = -max(_largest(-difference) for difference in differences_gy)
    highest = max(_largest(difference) for difference in differences_gy)
    # Single voxels at the beams' edges must not set the scale; never below 1 Gy, so that noise stays pale.
    typical = [float(np.nanpercentile(np.abs(d), 99.5)) for d in differences_gy if np.isfinite(d).any()]
    scale = float(np.ceil(max([1.0, *typical])))
    names = target_names(images.structures_day, view)
    panels = []
    for index, (plane, day, difference) in enumerate(zip(view.planes, view.day, differences_gy, strict=True)):
        lines = [view.day_lines[name][index] for name in names]
        layers = (Layer(day.uri), Layer(png_uri(difference_rgba(difference, top_gy=scale))))
        what = "Dose of the day minus planned dose."
        panels.append(make_panel(plane, layers, lines, name="difference", what=what))
    texts = (number(-scale, 0, "Gy"), "0 Gy", f"+{number(scale, 0, 'Gy')}")
    panels.append(_bar(difference_stops(), texts, "Today minus planned, course scale"))
    note = (
        "At the same point of the room: isocentre on isocentre, after the shift, not deformed. Blue: less today; red: "
        f"more. In these planes {number(lowest, 1)} to +{number(highest, 1, 'Gy')}."
    )
    caption = "Dose of the day minus planned dose, course scale"
    legend = structure_legend(names, view.colors)
    return FigureBlock("difference", caption, tuple(panels), legend, note=note)


def _largest(values: NDArray[np.float32]) -> float:
    """Return the largest known value, never below 0."""
    return float(np.max(values, initial=0.0, where=np.isfinite(values)))


def _isodoses(plane: Plane, dose_gy: NDArray[np.float32], prescription_gy: float) -> list[Line]:
    lines = []
    generator = contourpy.contour_generator(plane.u_mm, plane.v_mm, np.nan_to_num(dose_gy, nan=0.0))
    for percent, dash in ((95, False), (50, True)):
        level = prescription_gy * percent / 100
        found = tuple(np.asarray(line, dtype=float) for line in generator.lines(level))
        lines.append(Line(path_data(found), "#ffffff", f"{percent} % isodose, {level:.1f} Gy", dash=dash, width=0.9))
    return lines


def _bar(stops: Sequence[tuple[int, int, int]], texts: tuple[str, str, str], title: str) -> Panel:
    return Panel(
        title=title,
        alt=f"Colour bar: {title}, {texts[0]} to {texts[2]}.",
        svg=color_bar_svg(stops, *texts, title=title),
        print_svg=color_bar_svg(stops, *texts, title=title, for_print=True),
        width=0.0,
    )


def dvh_figure(report: FractionReport, colors: Mapping[str, Rgb]) -> FigureBlock:
    """Draw the histograms: structures with goals first, as many as can be told apart."""
    goals = {line.parsed.structure for line in report.goals}
    ordered = sorted(report.dvh, key=lambda pair: pair.structure not in goals)
    pairs, left_out = ordered[:_MOST_CURVES], ordered[_MOST_CURVES:]
    panel = Panel(
        title="",
        alt="Dose-volume histograms, planned dashed and today solid.",
        svg=dvh_svg(pairs, colors),
        print_svg=dvh_svg(pairs, colors, for_print=True),
    )
    text = ("#333333", "#dddddd")
    key = [LegendEntry("planned", *text, line="dashed"), LegendEntry("today", *text)]
    if any(pair.plan_of_day for pair in pairs):
        key.append(LegendEntry("plan of the day", *text, line="dotted"))
    key += [
        LegendEntry(
            pair.structure + (f" ({pair.note})" if pair.note else ""),
            css(readable(colors[pair.structure], GROUND_LIGHT)),
            css(readable(colors[pair.structure], GROUND_DARK)),
        )
        for pair in pairs
    ]
    caption = "Cumulative dose-volume histograms, course scale"
    note = ""
    if any(curve.low_percent for pair in pairs for curve in (pair.planned, pair.today) if curve is not None):
        note += "The shaded band is the uncertainty. "
    if left_out:
        note += f"Not drawn, in the JSON: {', '.join(pair.structure for pair in left_out)}."
    return FigureBlock("dvh", caption, (panel,), tuple(key), columns=1, note=note.strip())
