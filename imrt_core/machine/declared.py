"""What a machine file starts from before any measurement: declared values of a generic C-arm linac.

``igrt commission`` replaces the beam model; everything here can then be edited in the TOML by the physicist.
"""

from __future__ import annotations

from imrt_core.patient import MultileafCollimator

from .density import DensityCurve
from .machine import DeliveryLimits, Table

#: Transmission through leaf and interleaf gap (average) and through jaws, declared, in the range that AAPM TG-50 and
#: vendors' documents give for a 120-leaf collimator at 6 MV (1.2-2 %) and for jaws (< 0.5 %).
MLC_TRANSMISSION = 0.015
JAW_TRANSMISSION = 0.004

# CIRS 062 / Schneider et al., Phys Med Biol 41 (1996) 111-124, and ICRP 23 tissues: HU at 120 kVp, electron density
# relative to water, mass density in g/cm³. The last point continues the bone line to the end of the 12-bit scale.
_POINTS = (
    (-1000.0, 0.0012, 0.0012),
    (-800.0, 0.195, 0.200),
    (-500.0, 0.489, 0.500),
    (-100.0, 0.930, 0.930),
    (-60.0, 0.960, 0.965),
    (0.0, 1.000, 1.000),
    (45.0, 1.043, 1.055),
    (80.0, 1.055, 1.075),
    (230.0, 1.117, 1.160),
    (830.0, 1.456, 1.530),
    (1260.0, 1.695, 1.820),
    (3071.0, 2.700, 3.020),
)


def density_curves() -> tuple[DensityCurve, ...]:
    """Return the declared curves: CT, and CBCT apart (valid for HU that were mapped to the planning CT's scale)."""
    source = "declared: tissue substitutes after Schneider 1996 (Phys Med Biol 41:111) and CIRS 062 data sheet, 120 kVp"
    return (
        DensityCurve("generic CT 120 kVp", _POINTS, imager="ct", source=source),
        DensityCurve(
            "generic CBCT",
            _POINTS,
            imager="cbct",
            source=f"{source}; for CBCT only after its HU were matched to the planning CT (registration.hu_of_day)",
        ),
    )


def millennium_120() -> MultileafCollimator:
    """Return a 120-leaf collimator: 40 pairs of 5 mm between 10 + 10 pairs of 10 mm, travel along X."""
    outer = [float(v) for v in range(-200, -100, 10)]
    inner = [float(v) for v in range(-100, 101, 5)]
    return MultileafCollimator((*outer, *inner, *(-v for v in reversed(outer))), axis="X")


def limits() -> DeliveryLimits:
    """Return limits of a generic C-arm linac with that collimator."""
    return DeliveryLimits()


def table() -> Table:
    """Return a 6-DoF table with whole-millimetre and tenth-degree steps, rotations within 3 degrees."""
    return Table(rotations=("pitch", "roll", "yaw"))


def imagers() -> dict[str, str]:
    """Return the rule per imager: a CBCT's frame has its origin at the machine isocentre; a CT knows no isocentre."""
    return {"cbct": "origin", "ct": "unknown", "kv": "origin"}
