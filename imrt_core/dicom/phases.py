"""Phases of a respiration-correlated CT (4DCT, 4D-CBCT): one series each, in the order of the breathing cycle."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from imrt_core.patient import DicomError, IdentityError, PatientImage

from .ct import read_image
from .header import Header
from .opening import tolerant_values
from .series import scan_strictly
from .uids import CT_IMAGE
from .values import integer

#: "50%", "T=50.0 %", "20 % In", "80% Ex": a phase of time, or with In and Ex of amplitude.
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%\s*(in|ex)?", re.IGNORECASE)
#: Means and extremes over the cycle, which scanners put beside the phases.
_OVER_THE_CYCLE = re.compile(r"\b(avg|ave|average|mean|mip|minip|aip|max|min)\b", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class BreathingPhase:
    """One phase.

    Parameters
    ----------
    percent : float
        Place in the cycle, from 0 to below 100: end-inspiration is 0, end-expiration about 50. Of bins of amplitude
        the half of their percentage: inspiration goes from 0 % In at 50 to 100 % In at 100, the same as 0.
    label : str
        As the series describes itself.
    image : PatientImage
        HU.
    """

    percent: float
    label: str
    image: PatientImage


@dataclass(frozen=True, eq=False)
class BreathingPhases:
    """All phases of one acquisition.

    Parameters
    ----------
    phases : tuple of BreathingPhase
        In the order of the cycle.
    by_amplitude : bool
        Whether the bins are of amplitude: they then do not take equal time.
    passed_over : tuple of str
        Descriptions of CT series that are no phase: means, maximum intensity projections.
    """

    phases: tuple[BreathingPhase, ...]
    by_amplitude: bool
    passed_over: tuple[str, ...]

    def number_of(self, series_uid: str) -> int | None:
        """Return the number of the phase with this Series Instance UID; None if there is none."""
        uids = [phase.image.series_uid for phase in self.phases]
        return uids.index(series_uid) if series_uid in uids else None


@tolerant_values()
def read_phases(folder: Path) -> BreathingPhases:
    """Read every CT series of a folder whose description states a phase.

    The phase is the percentage in Series Description, otherwise Temporal Position Identifier of Number of Temporal
    Positions.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders.

    Raises
    ------
    DicomError
        If fewer than two phases are there, two are the same, some are of time and others of amplitude, or a series
        cannot be read.
    IdentityError
        If they are not of one patient and frame of reference.
    """
    series: dict[str, list[Header]] = {}
    for header in scan_strictly(folder):
        if header.sop_class == CT_IMAGE:
            series.setdefault(header.series_uid, []).append(header)
    places: dict[str, tuple[float, bool]] = {}
    passed_over = []
    for uid, headers in series.items():
        place = _place(headers[0])
        if place is None:
            passed_over.append(headers[0].text("SeriesDescription") or uid)
        else:
            places[uid] = place
    where = str(folder)
    if len(places) < 2:
        raise DicomError(
            "no phases of breathing",
            found=f"{len(places)} series that state a phase, {len(passed_over)} others",
            expected="at least two, with a percentage in Series Description or temporal positions",
            where=where,
        )
    if len({by_amplitude for _, by_amplitude in places.values()}) > 1:
        raise DicomError("phases of time and bins of amplitude are mixed", found=_named(series, places), where=where)
    if len({percent for percent, _ in places.values()}) < len(places):
        raise DicomError("two series state the same phase", found=_named(series, places), where=where)
    # a series in a folder of its own is found without reading the others again
    around = {uid: Path(os.path.commonpath([h.path.parent for h in series[uid]])) for uid in places}
    images = {uid: read_image(around[uid], series_uid=uid) for uid in places}
    _require_one_patient(tuple(images.values()), where)
    ordered = sorted(places, key=lambda uid: places[uid][0])
    return BreathingPhases(
        tuple(BreathingPhase(places[uid][0], series[uid][0].text("SeriesDescription"), images[uid]) for uid in ordered),
        by_amplitude=next(iter(places.values()))[1],
        passed_over=tuple(passed_over),
    )


def _place(header: Header) -> tuple[float, bool] | None:
    """Percentage of the cycle, and whether the bin is one of amplitude."""
    description = header.text("SeriesDescription")
    if _OVER_THE_CYCLE.search(description):
        return None
    stated = _PERCENT.findall(description)
    if stated:
        number, direction = float(stated[-1][0]), stated[-1][1].lower()
        if number > 100 or (number == 100 and not direction):
            return None
        if direction == "ex":
            return (100.0 - number) / 2, True
        return ((50.0 + number / 2) % 100.0, True) if direction == "in" else (number, False)
    position = integer(header.dataset, "TemporalPositionIdentifier", header.path)
    count = integer(header.dataset, "NumberOfTemporalPositions", header.path)
    if position is None or count is None or not 1 <= position <= count or count < 2:
        return None
    return 100.0 * (position - 1) / count, False


def _named(series: dict[str, list[Header]], places: dict[str, tuple[float, bool]]) -> str:
    return ", ".join(series[uid][0].text("SeriesDescription") or f"{places[uid][0]:g} %" for uid in places)


def _require_one_patient(images: tuple[PatientImage, ...], where: str) -> None:
    first = images[0]
    for image in images[1:]:
        if image.patient.patient_id != first.patient.patient_id:
            raise IdentityError("phases of different patients", where=where)
        if image.frame_of_reference_uid != first.frame_of_reference_uid:
            raise IdentityError(
                "phases of breathing must share a frame of reference",
                found=image.frame_of_reference_uid,
                expected=first.frame_of_reference_uid,
                where=where,
            )
