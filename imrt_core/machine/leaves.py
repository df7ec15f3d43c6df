"""What leaves do to the fluence beside blocking it: transmission, rounded ends, tongue and groove.

All lengths are on the isocentre plane. A leaf model is a set of effective numbers, to be measured with a sweeping gap
and a closed collimator; the values declared here are only where a machine file starts from.

References
----------
.. [1] AAPM Report 72 (Task Group 50). Basic applications of multileaf collimators. 2001.
.. [2] Boyer AL, Li S. Geometric analysis of light-field position of a multileaf collimator with curved ends.
   Med Phys 24 (1997) 757-762.
.. [3] LoSasso T, Chui CS, Ling CC. Physical and dosimetric aspects of a multileaf collimation system used in the
   dynamic mode for implementing intensity modulated radiotherapy. Med Phys 25 (1998) 1919-1927.
.. [4] van Santvoort JPC, Heijmen BJM. Dynamic multileaf collimation without "tongue-and-groove" underdosage effects.
   Phys Med Biol 41 (1996) 2091-2105.
.. [5] Deng J, et al. The MLC tongue-and-groove effect on IMRT dose distributions. Phys Med Biol 46 (2001) 1039-1060.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import MachineError

#: No leaf is modelled with a larger radiation offset or tongue than this, mm; more is a typing error.
_LARGEST_MM = 5.0


@dataclass(frozen=True)
class LeafModel:
    """Effective leaf parameters of one collimator at one beam quality.

    Parameters
    ----------
    transmission : float
        Part of the open fluence that passes closed leaves: the average over leaves and the gaps between them, as a
        chamber that covers several leaves measures it (AAPM Report 72). Interleaf leakage is in it and nowhere else:
        its stripes are below a millimetre wide and blurred in the patient.
    leaf_end_offset_mm : float
        How far the radiation edge lies behind the nominal tip, on each side. It stands for transmission through
        the rounded end and for the light-field offset (Boyer and Li); half of the dosimetric leaf gap (LoSasso).
    tongue_groove_mm : float
        Width of the strip along an exposed leaf side that the tongue shields.
    source : str
        Where the numbers come from.

    Raises
    ------
    MachineError
        If a number is not finite or out of range.
    """

    transmission: float
    leaf_end_offset_mm: float = 0.0
    tongue_groove_mm: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.transmission < 1:
            raise MachineError("leaf transmission must be 0 … 1", found=str(self.transmission), where="leaves")
        for name in ("leaf_end_offset_mm", "tongue_groove_mm"):
            length_mm = getattr(self, name)
            if not 0 <= length_mm <= _LARGEST_MM:
                raise MachineError(
                    f"{name} is not physical", found=str(length_mm), expected=f"0 … {_LARGEST_MM:g} mm", where="leaves"
                )

    @property
    def tongue_transmission(self) -> float:
        """Part of the fluence that passes a tongue alone, which is about half as high as its leaf: the square root."""
        return float(np.sqrt(self.transmission))


#: Declared at 6 MV, by collimator; to be replaced by a measurement on the machine.
DECLARED_LEAVES: dict[str, LeafModel] = {
    "millennium-120": LeafModel(
        0.015,
        0.8,
        0.4,
        "declared: transmission TG-50 (2001) 1.5-2 % with interleaf; half of a leaf gap of 1.6 mm, in the range of "
        "LoSasso 1998 and later reports (1.2-2 mm); tongue after Deng 2001",
    ),
    "hd-120": LeafModel(
        0.0117,
        0.43,
        0.4,
        "transmission 1.17 % and leaf gap 0.86 mm at 6 MV measured by Wang et al., Med Phys 35 (2008) 2827 (abstract "
        "SU-GG-T-446); tongue declared",
    ),
    "agility-160": LeafModel(
        0.005,
        0.0,
        0.0,
        "declared: transmission below 0.5 %, no tongue (flat tilted sides), leaf positions calibrated to the radiation "
        "edge; Bedford et al., Phys Med Biol 58 (2013) N1",
    ),
}
