"""Beams of an RT Plan: every control point resolved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imrt_core.patient import Beam, ControlPoint, InputRefusedError, MultileafCollimator, PlanError

from .values import integer, items, needed, number, numbers, text

_JAWS_X = ("X", "ASYMX")
_JAWS_Y = ("Y", "ASYMY")
_LEAVES = ("MLCX", "MLCY")

#: The last Cumulative Meterset Weight may differ from the stated final one by this part (rounding).
_WEIGHT_TOLERANCE = 1e-3

Point = tuple[float, float, float]


def read_beam(item: Dataset, delivered: dict[int | None, Dataset], path: Path) -> Beam:
    """Convert one item of the Beam Sequence.

    Parameters
    ----------
    item : Dataset
        The beam.
    delivered : dict
        Items of the fraction group's Referenced Beam Sequence by beam number.
    path : Path
        For messages.

    Raises
    ------
    InputRefusedError
        If the beam has no meterset in MU, a value that is not a finite number, leaves without known boundaries, or
        control points that cannot be resolved; it names the file and the beam.
    """
    beam_number = needed(integer(item, "BeamNumber", path), "BeamNumber", path)
    name = text(item, "BeamName", path) or str(beam_number)
    with _naming(f"{path}, beam {name}"):
        return _read_beam(item, delivered, beam_number, name, path)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say where it was in refusals that do not say it as exactly."""
    try:
        yield
    except InputRefusedError as error:
        if error.where.startswith(where):
            raise
        raise type(error)(
            error.message, found=error.found, expected=error.expected, where=where, code=error.code
        ) from error


def _read_beam(item: Dataset, delivered: dict[int | None, Dataset], beam_number: int, name: str, path: Path) -> Beam:
    where = f"{path}, beam {name}"
    if beam_number not in delivered:
        raise PlanError("a beam that no fraction delivers", expected="a reference in the fraction group", where=where)
    share = delivered[beam_number]
    mu = number(share, "BeamMeterset", path)
    if mu is None:
        raise PlanError("a beam without meterset", expected="Beam Meterset in MU", where=where)
    if (unit := text(item, "PrimaryDosimeterUnit", path).upper()) not in ("MU", ""):
        raise PlanError("the meterset is not in monitor units", found=unit, expected="MU", where=where)
    radiation = text(item, "RadiationType", path).upper() or "PHOTON"
    resolver = _Resolver(item, path, where)
    points = resolver.control_points()
    point = numbers(share, "BeamDoseSpecificationPoint", path, count=3)
    return Beam(
        number=beam_number,
        name=name,
        mu=mu,
        control_points=points,
        nominal_energy_mv=needed(resolver.state.energy_mv, "NominalBeamEnergy", path),
        machine_name=text(item, "TreatmentMachineName", path),
        mlc=resolver.mlc,
        sad_mm=number(item, "SourceAxisDistance", path) or 1000.0,
        beam_dose_gy=number(share, "BeamDose", path),
        beam_dose_point_lps=None if point is None else (float(point[0]), float(point[1]), float(point[2])),
        radiation_type=radiation,
        fluence_mode=_fluence_mode(item, path),
        unsupported=_unsupported(item, radiation, path) + tuple(sorted(resolver.unsupported)),
    )


def _fluence_mode(item: Dataset, path: Path) -> str:
    for mode in items(item, "PrimaryFluenceModeSequence", path):
        if text(mode, "FluenceMode", path).upper() == "NON_STANDARD":
            return text(mode, "FluenceModeID", path).upper() or "NON_STANDARD"
    return "STANDARD"


def _unsupported(item: Dataset, radiation: str, path: Path) -> tuple[str, ...]:
    found = [] if radiation == "PHOTON" else [f"{radiation.lower()} radiation"]
    positions = [
        text(wedge, "WedgePosition", path).upper()
        for point in items(item, "ControlPointSequence", path)
        for wedge in items(point, "WedgePositionSequence", path)
    ]
    # A motorised wedge may be declared and stay out all the time.
    if (integer(item, "NumberOfWedges", path) or items(item, "WedgeSequence", path)) and (
        not positions or "IN" in positions
    ):
        found.append("wedge")
    for count, sequence, device in (
        ("NumberOfCompensators", "CompensatorSequence", "compensator"),
        ("NumberOfBoli", "ReferencedBolusSequence", "bolus"),
        ("NumberOfBlocks", "BlockSequence", "block"),
    ):
        if integer(item, count, path) or items(item, sequence, path):
            found.append(device)
    for keyword, device in (("ApplicatorSequence", "applicator"), ("GeneralAccessorySequence", "accessory")):
        if items(item, keyword, path):
            found.append(device)
    return tuple(found)


@dataclass(frozen=True)
class _State:
    """What holds from one control point to the next."""

    energy_mv: float | None = None
    gantry_deg: float | None = None
    gantry_direction: str = "NONE"
    collimator_deg: float | None = None
    table_deg: float | None = None
    isocentre_lps: Point | None = None
    dose_rate: float | None = None
    devices: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class _Resolver:
    """Walks through a beam's control points, carrying along what DICOM does not repeat."""

    def __init__(self, item: Dataset, path: Path, where: str) -> None:
        self.item, self.path, self.where = item, path, where
        self.unsupported: set[str] = set()
        self.state = _State()
        self.mlc: MultileafCollimator | None = None
        self._leaf_device = ""
        self._declare_devices()

    def _declare_devices(self) -> None:
        for device in items(self.item, "BeamLimitingDeviceSequence", self.path):
            kind = text(device, "RTBeamLimitingDeviceType", self.path).upper()
            if kind in _LEAVES and self.mlc is None:
                boundaries = self._boundaries(device, kind)
                self.mlc = MultileafCollimator(tuple(float(b) for b in boundaries), axis=kind[-1])
                self._leaf_device = kind
            elif kind not in (*_JAWS_X, *_JAWS_Y):
                self.unsupported.add(self._unknown(kind))

    def _boundaries(self, device: Dataset, kind: str) -> NDArray[np.float64]:
        boundaries = numbers(device, "LeafPositionBoundaries", self.path)
        pairs = integer(device, "NumberOfLeafJawPairs", self.path)
        if boundaries is None or (pairs is not None and len(boundaries) != pairs + 1):
            raise PlanError(
                "the leaf boundaries are not known: LeafPositionBoundaries",
                found="no value" if boundaries is None else f"{len(boundaries)} edges for {pairs} pairs of {kind}",
                expected="one edge more than there are pairs",
                where=self.where,
                code="missing-attribute",
            )
        return boundaries

    def _unknown(self, kind: str) -> str:
        """Name a collimator that the engines do not model."""
        if kind in _LEAVES and self.mlc is not None and kind != self._leaf_device:
            return f"collimator with two leaf layers ({self._leaf_device}, {kind})"
        return f"collimator {kind}"

    def control_points(self) -> tuple[ControlPoint, ...]:
        points = items(self.item, "ControlPointSequence", self.path)
        announced = integer(self.item, "NumberOfControlPoints", self.path)
        if announced is not None and len(points) != announced:
            raise PlanError(
                "the beam's control points are not complete",
                found=str(len(points)),
                expected=str(announced),
                where=self.where,
            )
        resolved = []
        for order, (item, weight) in enumerate(zip(points, self._weights(points), strict=True), start=1):
            with _naming(f"{self.where}, control point {order}"):
                resolved.append(self._control_point(item, weight))
        return tuple(resolved)

    def _weights(self, points: list[Dataset]) -> list[float]:
        weights = [number(p, "CumulativeMetersetWeight", self.path) for p in points]
        if points and weights[0] is None:
            weights[0] = 0.0
        known = [w for w in weights if w is not None]
        if len(known) < len(weights) or not known:
            raise PlanError("control points without Cumulative Meterset Weight", where=self.where)
        final = number(self.item, "FinalCumulativeMetersetWeight", self.path)
        if final is None:
            final = known[-1]
        if final <= 0 or abs(known[-1] - final) > _WEIGHT_TOLERANCE * final:
            raise PlanError(
                "the control points do not end at the final meterset weight",
                found=f"{known[-1]:g}",
                expected=f"{final:g}, more than 0",
                where=self.where,
            )
        # Divided by the last weight: within rounding of the stated final one, and then exactly 1 at the end.
        return [w / known[-1] for w in known]

    def _control_point(self, item: Dataset, weight: float) -> ControlPoint:
        self.state = state = self._next_state(item)
        gantry_deg, collimator_deg, table_deg = state.gantry_deg, state.collimator_deg, state.table_deg
        isocentre_lps = state.isocentre_lps
        if gantry_deg is None or collimator_deg is None or table_deg is None or isocentre_lps is None:
            raise PlanError(
                "the first control point is not complete",
                found=f"gantry {gantry_deg}, collimator {collimator_deg}, table {table_deg}, isocentre {isocentre_lps}",
                expected="three angles and an isocentre",
                where=self.where,
            )
        leaves = state.devices.get(self._leaf_device)
        if self.mlc is not None and leaves is None:
            raise PlanError(
                "no leaf positions at the first control point", expected=self._leaf_device, where=self.where
            )
        return ControlPoint(
            cumulative_weight=weight,
            gantry_deg=gantry_deg,
            isocentre_lps=isocentre_lps,
            collimator_deg=collimator_deg,
            table_deg=table_deg,
            jaw_x_mm=self._jaw(_JAWS_X),
            jaw_y_mm=self._jaw(_JAWS_Y),
            leaves_mm=leaves,
            gantry_direction=state.gantry_direction,
            dose_rate_mu_per_min=state.dose_rate or None,
        )

    def _next_state(self, item: Dataset) -> _State:
        old, path = self.state, self.path
        energy_mv = number(item, "NominalBeamEnergy", path)
        if energy_mv is not None and old.energy_mv is not None and energy_mv != old.energy_mv:
            self.unsupported.add("energy change within a beam")
        for keyword in ("TableTopEccentricAngle", "TableTopPitchAngle", "TableTopRollAngle", "GantryPitchAngle"):
            if abs(number(item, keyword, path) or 0.0) > 1e-3:
                self.unsupported.add(keyword)
        point = numbers(item, "IsocenterPosition", path, count=3)
        angles = {
            name: found
            for name, keyword in (
                ("gantry_deg", "GantryAngle"),
                ("collimator_deg", "BeamLimitingDeviceAngle"),
                ("table_deg", "PatientSupportAngle"),
            )
            if (found := number(item, keyword, path)) is not None
        }
        dose_rate = number(item, "DoseRateSet", path)
        return replace(
            old,
            **angles,
            energy_mv=old.energy_mv if energy_mv is None else energy_mv,
            gantry_direction=text(item, "GantryRotationDirection", path).upper() or old.gantry_direction,
            isocentre_lps=(old.isocentre_lps if point is None else (float(point[0]), float(point[1]), float(point[2]))),
            dose_rate=old.dose_rate if dose_rate is None else dose_rate,
            devices={**old.devices, **self._devices(item)},
        )

    def _devices(self, item: Dataset) -> dict[str, NDArray[np.float64]]:
        found = {}
        for device in items(item, "BeamLimitingDevicePositionSequence", self.path):
            kind = text(device, "RTBeamLimitingDeviceType", self.path).upper()
            if kind in (*_JAWS_X, *_JAWS_Y):
                found[kind] = needed(
                    numbers(device, "LeafJawPositions", self.path, count=2), "LeafJawPositions", self.path
                )
            elif kind == self._leaf_device and self.mlc is not None:
                positions = numbers(device, "LeafJawPositions", self.path, count=2 * self.mlc.pairs)
                # All of the bank at the negative side first, then the other bank.
                found[kind] = needed(positions, "LeafJawPositions", self.path).reshape(2, self.mlc.pairs)
            elif kind in _LEAVES and self.mlc is None:
                raise PlanError(
                    "the leaf boundaries are not known: LeafPositionBoundaries",
                    found=f"positions of {kind}, which the Beam Limiting Device Sequence lacks",
                    expected=kind,
                    where=self.where,
                    code="missing-attribute",
                )
            else:
                self.unsupported.add(self._unknown(kind))
        return found

    def _jaw(self, kinds: tuple[str, ...]) -> tuple[float, float] | None:
        present = [self.state.devices[kind] for kind in kinds if kind in self.state.devices]
        if not present:
            return None
        return max(float(p[0]) for p in present), min(float(p[1]) for p in present)
