"""Measured against fitted, as pictures beside the machine file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .profiles import ProfilePair
from .residuals import AxisPair, FactorPair
from .run import Commissioned

#: At most so many curves are drawn in one picture: those of fields spread from the smallest to the largest.
_MOST_CURVES = 6
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def write_plots(done: Commissioned, machine_file: Path) -> list[Path]:
    """Write one SVG each of depth doses, output factors and profiles, as far as measured; return their paths."""
    title = f"{done.model.name} {done.model.version}: points measured, lines fitted"
    written = []
    if done.depth:
        figure, curves, differences = _figure(title)
        _depth(curves, differences, done.depth)
        written.append(_saved(figure, curves, machine_file, "depth"))
    if done.factors:
        figure, curves, differences = _figure(title)
        _factors(curves, differences, done.factors)
        written.append(_saved(figure, curves, machine_file, "output_factors"))
    if done.profiles:
        figure, curves, differences = _figure(title)
        _profiles(curves, differences, done.profiles)
        written.append(_saved(figure, curves, machine_file, "profiles"))
    return written


def _figure(title: str) -> tuple[Figure, Axes, Axes]:
    """Return a figure with measured and fitted curves above their differences."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    curves, differences = figure.subplots(2, 1, height_ratios=(2, 1), sharex=True)
    differences.axhline(0, color="0.6", lw=0.8)
    figure.suptitle(title)
    return figure, curves, differences


def _saved(figure: Figure, curves: Axes, machine_file: Path, what: str) -> Path:
    inside = what == "profiles"
    curves.legend(fontsize=8, loc="lower center" if inside else "best", ncols=1 if inside else 2)
    path = machine_file.with_name(f"{machine_file.stem}_{what}.svg")
    figure.savefig(path, metadata={"Date": None})
    return path


def _spread(pairs: Sequence[AxisPair]) -> list[AxisPair]:
    ordered = sorted(pairs, key=lambda p: p.points.field_mm)
    chosen = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_CURVES)).round().astype(int))
    return [ordered[n] for n in chosen]


def _depth(curves: Axes, differences: Axes, pairs: Sequence[AxisPair]) -> None:
    for color, pair in zip(_COLORS, _spread(pairs), strict=False):
        depth = pair.points.depth_mm
        label = f"{pair.points.field_mm[0]:g} × {pair.points.field_mm[1]:g} mm"
        curves.plot(depth, pair.measured, ".", ms=3, color=color, label=label)
        curves.plot(depth, pair.ours, lw=1, color=color)
        differences.plot(depth, np.clip(pair.percent, -5, 5), ".-", ms=3, lw=0.7, color=color)
    reference = pairs[0].points.depth_mm[pairs[0].points.reference]
    curves.set_ylabel(f"depth dose or TPR, 1 at {reference:g} mm")
    differences.set_ylabel("difference (% of local,\nlimited to ±5)")
    differences.set_xlabel("depth in water (mm)")


def _factors(curves: Axes, differences: Axes, pairs: Sequence[FactorPair]) -> None:
    for color, pair in zip(_COLORS, pairs, strict=False):
        side = np.array([np.sqrt(x * y) for x, y in pair.table.fields_mm])
        order = np.argsort(side)
        label = f"{pair.table.depth_mm:g} mm deep, SSD {pair.table.ssd_mm:g} mm"
        curves.plot(side[order], pair.table.factor[order], "o", ms=4, color=color, label=label)
        curves.plot(side[order], pair.ours[order], lw=1, color=color)
        differences.plot(side[order], pair.percent[order], "o-", ms=3, lw=0.7, color=color)
    curves.set_xscale("log")
    curves.set_ylabel("output factor")
    differences.set_ylabel("difference (%)")
    differences.set_xlabel("side of the square field (mm)")


def _profiles(curves: Axes, differences: Axes, pairs: Sequence[ProfilePair]) -> None:
    shallow = [p for p in pairs if p.scan.depth_mm == pairs[0].scan.depth_mm] or list(pairs)
    for color, pair in zip(_COLORS, shallow, strict=False):
        scan = pair.scan
        label = f"{scan.kind} {scan.field_x_mm:g} × {scan.field_y_mm:g} mm, {scan.depth_mm:g} mm deep"
        curves.plot(scan.position_mm, scan.value, ".", ms=3, color=color, label=label)
        curves.plot(scan.position_mm, pair.ours, lw=1, color=color)
        differences.plot(scan.position_mm, np.clip(pair.difference_percent, -10, 10), lw=0.8, color=color)
    curves.set_ylabel("dose, 1 on the axis")
    differences.set_ylabel("difference (% of axis,\nlimited to ±10)")
    differences.set_xlabel("IEC X (crossline) or Y (inline) in the plane of measurement (mm)")
