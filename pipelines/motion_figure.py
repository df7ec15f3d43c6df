"""Picture of a target's path over the breathing cycle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from registration import StructureMotion

#: Direction along LPS, its colour, marker and line: told apart without colour too.
_DIRECTIONS = (
    ("left (+) / right (−)", "#0072B2", "o", "-"),
    ("posterior (+) / anterior (−)", "#D55E00", "s", "--"),
    ("superior (+) / inferior (−)", "#009E73", "^", "-."),
)


def write_motion_figure(
    structures: Sequence[StructureMotion], percent: Sequence[float], mid_ventilation: int, path: Path
) -> Path:
    """Draw displacement against phase, one panel per structure; the dotted lines are the mid-ventilation phase.

    Parameters
    ----------
    structures : sequence of StructureMotion
        Over the phases.
    percent : sequence of float
        Place of every phase in the cycle, ascending.
    mid_ventilation : int
        Number of that phase.
    path : Path
        SVG to write.
    """
    figure = Figure(figsize=(8.0, 1.0 + 3.0 * len(structures)), layout="constrained")
    panels = figure.subplots(len(structures), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, motion in zip(panels, structures, strict=True):
        for axis, (name, colour, marker, line) in enumerate(_DIRECTIONS):
            # the cycle closes: the first phase follows the last
            values = [place[axis] for place in motion.displacement_mm]
            turn = [*percent, percent[0] + 100.0]
            axes.plot(turn, [*values, values[0]], color=colour, marker=marker, linestyle=line, label=name)
        axes.axvline(percent[mid_ventilation], color="0.4", linestyle=":", linewidth=1.2)
        axes.axhline(0.0, color="0.7", linewidth=0.8)
        axes.set_ylabel("displacement (mm)")
        axes.set_title(
            f"{motion.name}: largest displacement between two phases {motion.largest_mm:.1f} mm", fontsize=10
        )
        axes.grid(alpha=0.25)
    panels[-1].set_xlabel("phase of breathing (%), 0 = end of inspiration; dotted: mid-ventilation phase")
    panels[0].legend(fontsize=8, loc="best")
    figure.savefig(path, metadata={"Date": None})
    return path
