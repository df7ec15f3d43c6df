"""The figures of a fraction report: match before and after, structures, dose today and its difference, DVH."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import contourpy
import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import RigidTransform, Structure, StructureSet

from .blocks import FigureBlock, LegendEntry, Panel
from .colors import (
    GROUND_DARK,
    GROUND_IMAGE,
    GROUND_LIGHT,
    css,
    difference_rgba,
    difference_stops,
    dose_rgba,
    dose_stops,
    readable,
)
from .contours_svg import contour_lines, path_data
from .dvh_svg import dvh_svg
from .images import FractionImages
from .model import FractionReport
from .panel_svg import Layer, Line, color_bar_svg, panel_svg
from .slices import AIR_HU, Image8, Plane, grey, overlay, planes_through, png_uri, sample_on
from .words import number

#: More lines than this on one picture hide it: targets first, then structures with a goal, then the outline.
_MOST_LINES = 14
#: More curves than this in one plot cannot be told apart.
_MOST_CURVES = 12
_BLUE, _ORANGE = "#4d9dff", "#ff9a3c"


@dataclass(frozen=True, eq=False)
class _View:
    """What several figures share: the planes, the planning pictures, and the planes' points in the day frame."""

    planes: tuple[Plane, Plane, Plane]
    planning: tuple[Image8, ...]
    planning_uris: tuple[str, ...]
    day_from_planning: RigidTransform | None
    day: tuple[Image8, ...]
    day_uris: tuple[str, ...]


def fraction_figures(report: FractionReport, images: FractionImages | None) -> dict[str, FigureBlock]:
    """Draw all figures for which there is something to draw.

    Returns
    -------
    dict
        By name: ``before``, ``after``, ``deformed``, ``structures``, ``dose``, ``difference``, ``dvh``.
    """
    figures = {"dvh": _dvh_figure(report)} if report.dvh else {}
    if images is None:
        return figures
    planes = planes_through(images.planning_hu, images.isocentre_lps)
    planning = tuple(grey(sample_on(images.planning_hu, p.points_lps(), outside=AIR_HU)) for p in planes)
    after = images.after_from_planning
    day = tuple(_day_picture(images, p, after) for p in planes) if after is not None else ()
    view = _View(planes, planning, tuple(map(png_uri, planning)), after, day, tuple(map(png_uri, day)))
    before = images.before_from_planning
    if before is not None:
        pictures = tuple(_day_picture(images, p, before) for p in planes)
        figures["before"] = _match_figure(
            view,
            pictures,
            tuple(map(png_uri, pictures)),
            name="before",
            caption="Before the shift: isocentre on isocentre, as the patient was imaged.",
        )
    if after is not None:
        shifted = before is not None and images.shift_motion_lps is not None
        caption = (
            "After the shift as applied (rounded; rotations that the table cannot make remain)."
            if shifted
            else "Match only: no couch shift is given, the image of the day is moved by the match itself."
        )
        figures["after"] = _match_figure(view, day, view.day_uris, name="after", caption=caption)
        if images.structures_planned is not None or images.structures_day is not None:
            figures["structures"] = _structures_figure(report, images, view)
        figures.update(_dose_figures(report, images, view))
    if images.deformation is not None:
        field = images.deformation
        pictures = tuple(grey(sample_on(images.day_hu, field.apply(p.points_lps()), outside=AIR_HU)) for p in planes)
        figures["deformed"] = _match_figure(
            view,
            pictures,
            tuple(map(png_uri, pictures)),
            name="deformed",
            caption="After deformable registration: the image of the day pulled back onto the planning CT.",
        )
    return figures


def _day_picture(images: FractionImages, plane: Plane, day_from_planning: RigidTransform) -> Image8:
    return grey(sample_on(images.day_hu, day_from_planning.apply(plane.points_lps()), outside=AIR_HU))


def _match_figure(
    view: _View, day: Sequence[Image8], day_uris: Sequence[str], *, name: str, caption: str
) -> FigureBlock:
    panels = []
    for plane, planning, planning_uri, picture, uri in zip(
        view.planes, view.planning, view.planning_uris, day, day_uris, strict=True
    ):
        layers = (
            Layer(planning_uri, view="planning"),
            Layer(uri, view="day"),
            Layer(png_uri(overlay(planning, picture)), view="overlay"),
            Layer(planning_uri, view="checker"),
            Layer(uri, view="checker", checked=True),
        )
        panels.append(_panel(plane, layers, (), name=name, what=caption))
    legend = (
        LegendEntry("planning CT only", "#0a5fc4", _BLUE, patch=True),
        LegendEntry("image of the day only", "#b35900", _ORANGE, patch=True),
        LegendEntry("both agree: grey", "#767676", "#9a9a9a", patch=True),
    )
    views = (("overlay", "Overlay"), ("checker", "Checkerboard"), ("planning", "Planning CT"), ("day", "Day"))
    return FigureBlock(name, caption, tuple(panels), legend, (*views, ("blink", "Blink")))


def _panel(plane: Plane, layers: Sequence[Layer], lines: Sequence[Line], *, name: str, what: str) -> Panel:
    sides = {
        "transverse": "patient left on the right of the picture, anterior at the top",
        "coronal": "patient left on the right of the picture, superior at the top",
        "sagittal": "anterior on the left of the picture, superior at the top",
    }[plane.name]
    alt = f"{plane.name.capitalize()} plane through the isocentre, {sides}. {what}"
    return Panel(
        title=plane.name.capitalize(),
        alt=alt,
        svg=panel_svg(plane, layers, lines, alt=alt, unique=f"{name}-{plane.name}"),
        print_svg=panel_svg(plane, layers, lines, alt=alt, unique=f"{name}-{plane.name}", for_print=True),
    )


def _shown_names(report: FractionReport, *sets: StructureSet | None) -> tuple[str, ...]:
    """Choose the structures to draw: targets, those with goals, the outline, at most :data:`_MOST_LINES`."""
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


def _structure_lines(
    structures: StructureSet | None,
    names: Sequence[str],
    plane: Plane,
    frame_from_planning: RigidTransform | None,
    *,
    dash: bool,
) -> list[Line]:
    if structures is None:
        return []
    what = "planned" if dash else "today"
    return [
        Line(
            path_data(contour_lines(structures[name], plane, frame_from_planning=frame_from_planning)),
            css(readable(structures[name].color_rgb, GROUND_IMAGE, ratio=4.5)),
            f"{name}, {what}",
            dash=dash,
        )
        for name in names
        if name in structures
    ]


def _structures_figure(report: FractionReport, images: FractionImages, view: _View) -> FigureBlock:
    names = _shown_names(report, images.structures_day, images.structures_planned)
    caption = "Structures after the shift on the image of the day: planned dashed, propagated solid."
    panels = []
    for plane, uri in zip(view.planes, view.day_uris, strict=True):
        lines = _structure_lines(images.structures_planned, names, plane, None, dash=True)
        lines += _structure_lines(images.structures_day, names, plane, view.day_from_planning, dash=False)
        panels.append(_panel(plane, (Layer(uri),), lines, name="structures", what=caption))
    return FigureBlock("structures", caption, tuple(panels), _structure_legend(images, names))


def _structure_legend(images: FractionImages, names: Sequence[str]) -> tuple[LegendEntry, ...]:
    entries = []
    for name in names:
        for structures in (images.structures_day, images.structures_planned):
            if structures is not None and name in structures:
                # The lines lie on black pictures, so the legend keeps their colour on both grounds.
                color = css(readable(structures[name].color_rgb, GROUND_IMAGE, ratio=4.5))
                entries.append(LegendEntry(name, color, color, black=True))
                break
    return tuple(entries)


def _dose_figures(report: FractionReport, images: FractionImages, view: _View) -> dict[str, FigureBlock]:
    dose_today, dose_planned = images.course_dose_today_gy, images.course_dose_planned_gy
    day_from_planning = view.day_from_planning
    if dose_today is None or day_from_planning is None:
        return {}
    today = [sample_on(dose_today, day_from_planning.apply(p.points_lps()), outside=np.nan) for p in view.planes]
    prescription = max((gy for _, gy in report.plan.prescription_gy), default=0.0) if report.plan else 0.0
    top = 1.1 * (prescription or float(max(np.nanmax(d, initial=0.0) for d in today)) or 1.0)
    names = _target_names(report, images)
    panels = []
    for plane, uri, dose in zip(view.planes, view.day_uris, today, strict=True):
        lines = _structure_lines(images.structures_day, names, plane, day_from_planning, dash=False)
        lines += _isodoses(plane, dose, prescription) if prescription else []
        layers = (Layer(uri), Layer(png_uri(dose_rgba(dose, top_gy=top))))
        panels.append(_panel(plane, layers, lines, name="dose", what="Dose of the day, colour wash."))
    bar_texts = (number(0.1 * top, 0, "Gy"), number(0.55 * top, 0, "Gy"), number(top, 0, "Gy"))
    panels.append(_bar(dose_stops(), bar_texts, "Dose, course scale"))
    isodose_text = " Lines: 95 % (white) and 50 % (white, dashed) of the prescription." if prescription else ""
    figures = {
        "dose": FigureBlock(
            "dose",
            f"Dose of the day × planned fractions, on today's anatomy after the shift.{isodose_text}",
            tuple(panels),
            _structure_legend(images, names),
        )
    }
    if dose_planned is None:
        return figures
    differences = [
        dose - sample_on(dose_planned, plane.points_lps(), outside=np.nan)
        for plane, dose in zip(view.planes, today, strict=True)
    ]
    largest = max((float(np.nanmax(np.abs(d), initial=0.0)) for d in differences), default=0.0)
    # Single voxels at the beams' edges must not set the scale; never below 1 Gy, so that noise stays pale.
    typical = [float(np.nanpercentile(np.abs(d), 99.5)) for d in differences if np.isfinite(d).any()]
    scale = float(np.ceil(max([1.0, *typical])))
    panels = []
    for plane, uri, difference in zip(view.planes, view.day_uris, differences, strict=True):
        lines = _structure_lines(images.structures_day, names, plane, day_from_planning, dash=False)
        layers = (Layer(uri), Layer(png_uri(difference_rgba(difference, top_gy=scale))))
        panels.append(_panel(plane, layers, lines, name="difference", what="Dose of the day minus planned dose."))
    bar_texts = (number(-scale, 0, "Gy"), "0 Gy", f"+{number(scale, 0, 'Gy')}")
    panels.append(_bar(difference_stops(), bar_texts, "Today minus planned, course scale"))
    caption = (
        "Dose of the day minus planned dose at the same point of the room, isocentre on isocentre after the shift, "
        f"course scale; blue is less today, red is more. Largest difference in these planes {number(largest, 1, 'Gy')}."
    )
    figures["difference"] = FigureBlock("difference", caption, tuple(panels), _structure_legend(images, names))
    return figures


def _target_names(report: FractionReport, images: FractionImages) -> tuple[str, ...]:
    if images.structures_day is None:
        return ()
    names = _shown_names(report, images.structures_day)
    return tuple(n for n in names if images.structures_day[n].is_target) or names[:4]


def _isodoses(plane: Plane, dose_gy: NDArray[np.float32], prescription_gy: float) -> list[Line]:
    lines = []
    generator = contourpy.contour_generator(plane.u_mm, plane.v_mm, np.nan_to_num(dose_gy, nan=0.0))
    for percent, dash in ((95, False), (50, True)):
        level = prescription_gy * percent / 100
        found = tuple(np.asarray(line, dtype=float) for line in generator.lines(level))
        lines.append(Line(path_data(found), "#ffffff", f"{percent} % isodose, {level:.1f} Gy", dash=dash, width=1.0))
    return lines


def _bar(stops: Sequence[tuple[int, int, int]], texts: tuple[str, str, str], title: str) -> Panel:
    return Panel(
        title=title,
        alt=f"Colour bar: {title}, {texts[0]} to {texts[2]}.",
        svg=color_bar_svg(stops, *texts, title=title),
        print_svg=color_bar_svg(stops, *texts, title=title, for_print=True),
    )


def _dvh_figure(report: FractionReport) -> FigureBlock:
    goals = {line.parsed.structure for line in report.goals}
    pairs = [p for p in report.dvh if p.structure in goals] or list(report.dvh)
    left_out = [p.structure for p in report.dvh if p not in pairs[:_MOST_CURVES]]
    pairs = pairs[:_MOST_CURVES]
    panel = Panel(
        title="Dose-volume histograms",
        alt="Dose-volume histograms, planned dashed and today solid.",
        svg=dvh_svg(pairs),
        print_svg=dvh_svg(pairs, for_print=True),
    )
    legend = tuple(
        LegendEntry(
            pair.structure + (f" ({pair.note})" if pair.note else ""),
            css(readable(pair.color_rgb, GROUND_LIGHT)),
            css(readable(pair.color_rgb, GROUND_DARK)),
        )
        for pair in pairs
    )
    key = [LegendEntry("planned", "#333333", "#dddddd", dash=True), LegendEntry("today", "#333333", "#dddddd")]
    if any(pair.plan_of_day for pair in pairs):
        key.append(LegendEntry("plan of day: dotted", "#333333", "#dddddd", dash=True))
    caption = "Cumulative dose-volume histograms, course scale."
    if any(curve.low_percent for pair in pairs for curve in (pair.planned, pair.today) if curve is not None):
        caption += " The shaded band is the uncertainty."
    if left_out:
        caption += f" Not drawn, in the JSON: {', '.join(left_out)}."
    return FigureBlock("dvh", caption, (panel,), (*key, *legend), wide=True)
