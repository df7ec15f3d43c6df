"""The cumulative dose-volume histogram as data, and the metrics read from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..patient.errors import GeometryError, ProtocolError
from ..patient.goals import Metric, MetricKind


@dataclass(frozen=True, eq=False)
class DVH:
    """Cumulative dose-volume histogram of one structure.

    Built by :func:`imrt_core.evaluate.dvh`. Metrics in percent of volume refer to the volume inside the dose grid,
    whose dose is known; :meth:`bounds` says what the volume outside could make of them.

    Parameters
    ----------
    name : str
        Of the structure; empty for a mask.
    volume_cc : float
        Whole structure.
    outside_cc : float
        The part of it beyond the dose grid.
    mean_gy, min_gy, max_gy : float
        Volume-weighted mean, coldest and hottest sub-voxel, inside the dose grid.
    dose_edges_gy : ndarray, shape (n,)
        Ascending doses.
    cumulative_cc : ndarray, shape (n,)
        Volume that receives at least the dose of the same index.
    grid_max_gy : float
        Hottest voxel of the whole dose grid.
    prescription_gy : float or None
        100 % of metrics in percent of prescription.
    """

    name: str
    volume_cc: float
    outside_cc: float
    mean_gy: float
    min_gy: float
    max_gy: float
    dose_edges_gy: NDArray[np.float64]
    cumulative_cc: NDArray[np.float64]
    grid_max_gy: float
    prescription_gy: float | None = None

    def __post_init__(self) -> None:
        dose = np.array(self.dose_edges_gy, dtype=np.float64)
        volume = np.array(self.cumulative_cc, dtype=np.float64)
        if dose.shape != volume.shape or dose.ndim != 1 or len(dose) < 2 or np.any(np.diff(dose) <= 0):
            raise GeometryError("a DVH needs ascending doses with a volume each", found=f"{dose.shape} {volume.shape}")
        if np.any(np.diff(volume) > 0) or not volume[0] > 0 or not np.all(np.isfinite(volume)):
            raise GeometryError("a cumulative volume must start above zero and never rise", where=self.name)
        for array in (dose, volume):
            array.setflags(write=False)
        object.__setattr__(self, "dose_edges_gy", dose)
        object.__setattr__(self, "cumulative_cc", volume)

    @property
    def inside_cc(self) -> float:
        """Volume inside the dose grid."""
        return float(self.cumulative_cc[0])

    def dose_at_volume_gy(self, volume_cc: float) -> float:
        """Return the dose that exactly ``volume_cc`` receives at least, by linear interpolation.

        No volume gives the maximum; the whole volume inside the dose grid, or more, the minimum.
        """
        if volume_cc <= 0:
            return self.max_gy
        if volume_cc >= self.inside_cc * (1 - 1e-9):
            return self.min_gy
        dose, volume = self.dose_edges_gy, self.cumulative_cc
        if volume[-1] >= volume_cc:
            return self.max_gy
        # The last edge that at least this volume receives; the volume falls below it before the next edge.
        n = len(volume) - 1 - int(np.searchsorted(volume[::-1], volume_cc, side="left"))
        share = (volume[n] - volume_cc) / (volume[n] - volume[n + 1])
        return float(np.clip(dose[n] + share * (dose[n + 1] - dose[n]), self.min_gy, self.max_gy))

    def volume_at_dose_cc(self, dose_gy: float) -> float:
        """Return the volume inside the dose grid that receives at least ``dose_gy``, by linear interpolation."""
        if dose_gy <= self.min_gy + 1e-9:
            return self.inside_cc
        if dose_gy > self.max_gy + 1e-9:
            return 0.0
        return float(np.interp(dose_gy, self.dose_edges_gy, self.cumulative_cc))

    def metric(self, metric: Metric | str) -> float:
        """Return the value of a metric, in its unit, for the volume inside the dose grid.

        Absolute volumes larger than the structure (``D0.03cc`` of a tiny one) give the maximum. ``Volume[cc]`` is the
        whole structure.

        Raises
        ------
        ProtocolError
            If the text is no metric, or a percent of the prescription is asked for and none is known.
        """
        return self._value(_metric(metric), cold_cc=0.0, hot_cc=0.0)

    def bounds(self, metric: Metric | str) -> tuple[float, float]:
        """Return the lowest and highest value that the volume outside the dose grid allows.

        That volume is given no dose, then the dose of the hottest voxel of the grid: a dose grid is taken to hold the
        hottest point of the patient. Percentages of volume then refer to the whole structure.

        Raises
        ------
        ProtocolError
            As for :meth:`metric`.
        """
        parsed = _metric(metric)
        if self.outside_cc <= 0:
            value = self._value(parsed, cold_cc=0.0, hot_cc=0.0)
            return value, value
        return (
            self._value(parsed, cold_cc=self.outside_cc, hot_cc=0.0),
            self._value(parsed, cold_cc=0.0, hot_cc=self.outside_cc),
        )

    def scaled(self, factor: float) -> DVH:
        """Return the histogram of ``factor`` times the dose, e.g. of all planned fractions from that of one.

        Raises
        ------
        GeometryError
            If the factor is not positive.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise GeometryError("a dose scale must be positive", found=str(factor))
        return replace(
            self,
            mean_gy=self.mean_gy * factor,
            min_gy=self.min_gy * factor,
            max_gy=self.max_gy * factor,
            dose_edges_gy=self.dose_edges_gy * factor,
            grid_max_gy=self.grid_max_gy * factor,
        )

    def _value(self, metric: Metric, *, cold_cc: float, hot_cc: float) -> float:
        """Evaluate with ``cold_cc`` more volume at no dose and ``hot_cc`` more at the grid's maximum."""
        total = self.inside_cc + cold_cc + hot_cc
        match metric.kind:
            case MetricKind.VOLUME:
                return self.volume_cc
            case MetricKind.VOLUME_AT_DOSE:
                at_gy = metric.at if metric.at_unit == "Gy" else metric.at / 100 * self._prescription()
                volume = self.volume_at_dose_cc(at_gy) + (hot_cc if at_gy <= self.grid_max_gy else 0.0)
                if at_gy <= 0:
                    volume = total
                return volume if metric.unit == "cc" else 100 * volume / total
            case MetricKind.MEAN:
                dose = (self.mean_gy * self.inside_cc + self.grid_max_gy * hot_cc) / total
            case MetricKind.MAX:
                dose = self.grid_max_gy if hot_cc else self.max_gy
            case MetricKind.MIN:
                dose = 0.0 if cold_cc else self.min_gy
            case MetricKind.DOSE_AT_VOLUME:
                at_cc = metric.at / 100 * total if metric.at_unit == "%" else metric.at
                if metric.at_unit == "cc" and at_cc > total:
                    at_cc = 0.0
                if at_cc <= hot_cc and hot_cc > 0:
                    dose = self.grid_max_gy
                elif cold_cc and at_cc > self.inside_cc:
                    dose = 0.0
                else:
                    dose = self.dose_at_volume_gy(at_cc - hot_cc)
        return dose if metric.unit == "Gy" else 100 * dose / self._prescription()

    def _prescription(self) -> float:
        if self.prescription_gy is None:
            raise ProtocolError(
                "a metric in percent of the prescription needs the prescription",
                found="none",
                expected="prescription_gy",
                where=f"structure {self.name}",
            )
        return self.prescription_gy


def _metric(metric: Metric | str) -> Metric:
    return Metric.parse(metric) if isinstance(metric, str) else metric
