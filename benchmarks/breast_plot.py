"""The picture of :mod:`benchmarks.breast`: histograms of volume, and doses along lines through the target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.evaluate import dvh
from imrt_core.patient import StructureSet, Volume

_COLOURS = ("#b3261e", "#8a5300", "#1b6e3c", "#0b5cad", "#6a3fa0")
_REACH_MM = 120.0
_AXES = ("right to left, x (mm)", "anterior to posterior, y (mm)", "inferior to superior, z (mm)")


def plot(
    structures: StructureSet,
    tps_gy: Volume,
    ours_gy: Volume,
    *,
    names: Sequence[str],
    through_lps: tuple[float, float, float],
    title: str,
    path: Path,
) -> None:
    """Draw course doses, ours solid and theirs dashed.

    Parameters
    ----------
    structures : StructureSet
        As exported.
    tps_gy, ours_gy : Volume
        Course doses.
    names : sequence of str
        Structures whose histograms are drawn, five at most.
    through_lps : tuple of float
        Point that the three lines cross.
    title, path
        Above the picture; the SVG to write.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "breast"
    mpl.rcParams["font.size"] = 11
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(11.5, 6.6), layout="constrained")
    space = figure.add_gridspec(3, 2, width_ratios=(1.1, 1.0))
    axis = figure.add_subplot(space[:, 0])
    for name, colour in zip(names, _COLOURS, strict=False):
        for dose, style in ((ours_gy, "-"), (tps_gy, "--")):
            found = dvh(structures[name], dose)
            share = 100 * found.cumulative_cc / found.cumulative_cc[0]
            axis.plot(found.dose_edges_gy, share, style, color=colour, label=name if style == "-" else None)
    axis.set_xlabel("course dose (Gy)")
    axis.set_ylabel("volume (%)")
    axis.set_ylim(0, 102)
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    axis.legend(title="ours solid, TPS dashed", loc=(0.3, 0.7))
    for row in range(3):
        panel = figure.add_subplot(space[row, 1])
        offset = np.arange(-_REACH_MM, _REACH_MM + 0.5)
        points = np.tile(np.asarray(through_lps), (len(offset), 1))
        points[:, row] += offset
        for dose, style, label in ((ours_gy, "-", "ours"), (tps_gy, "--", "TPS")):
            panel.plot(points[:, row], _along(dose, points), style, color="#1f5fa8", label=label)
        panel.set_xlabel(_AXES[row])
        panel.set_ylabel("Gy")
        panel.grid(alpha=0.3)
        if row == 0:
            panel.legend(loc="upper left")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _along(dose: Volume, points_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(dose.sample(points_lps, outside=np.nan), dtype=float)
