"""Metals in patients: densities, and how much dose they scatter back, from the literature.

Electron densities are mass density × Z/A of the composition, relative to water (Z/A = 0.5551); for titanium and steel
they agree with the 3.6 and 6.7 of AAPM TG-63 [1]_.

Backscatter: electrons set free in a metal of high atomic number come back and raise the dose on the side that the beam
comes from, within a few millimetres. Engines that scale water (all of this project) do not show it, so it is said as a
warning with the published range and never added to dose.

The ranges are those of the abstracts of [3]_ to [8]_. ``backscatter_percent`` is a choice within each range, not a
published mean. [1]_ and [9]_ are quoted without the papers at hand.

References
----------
.. [1] Reft C et al. Dosimetric considerations for patients with hip prostheses undergoing pelvic irradiation (AAPM
   TG-63). Med Phys 30 (2003) 1162-1182.
.. [2] Das IJ, Kahn FM. Backscatter dose perturbation at high atomic number interfaces in megavoltage photon beams. Med
   Phys 16 (1989) 367-375: falls off within a few millimetres upstream, grows with atomic number.
.. [3] Chin DWH et al. Effect of dental restorations and prostheses on radiotherapy dose distribution: a Monte Carlo
   study. J Appl Clin Med Phys 10(1) (2009) 80-89: all-metal dentures up to 33 %, ceramic veneers up to 8 %; 3 to 5 mm
   of water absorb almost all of it.
.. [4] Farahani M, Eichmiller FC, McLaughlin WL. Measurement of absorbed doses near metal and dental material interfaces
   irradiated by X- and gamma-ray therapy beams. Phys Med Biol 35 (1990) 369-385: up to a factor 2 on gold (Co-60,
   10 MV), at the surface itself.
.. [5] Backscattering from dental restorations and splint materials during therapeutic radiation. Radiology 156 (1985)
   523-526: 20 % beside gold crowns (Co-60).
.. [6] Stoll P et al. J Craniomaxillofac Surg 18 (1990) 361-366: 12.5 to 16 % at 0.45 mm from titanium and steel (Co-60,
   8 MV).
.. [7] J Appl Clin Med Phys 2019, PMC6909125: titanium at 6 MV, 18 % with film, 4 % with a diamond detector.
.. [8] Mahuvava C, Du Plessis FCP. J Med Phys 43 (2018): up to 38 % at bone on 316L steel, 6-20 MV, Monte Carlo.
.. [9] Reitemeier B et al. Evaluation of a device for attenuation of electron release from dental restorations in a
   therapeutic radiation field. J Prosthet Dent 87 (2002) 323-327: 3 mm of spacer.
"""

from __future__ import annotations

from dataclasses import dataclass

from imrt_core.patient import MachineError


@dataclass(frozen=True)
class Metal:
    """A metal, and the rise of dose upstream of its surface at 6 MV.

    Parameters
    ----------
    name : str
        As declared for a patient.
    relative_electron_density : float
        Relative to water.
    mass_density : float
        g/cm³.
    backscatter_percent : float
        Rise of dose in tissue at the surface, upstream; what is said first.
    backscatter_range_percent : tuple of float
        Lowest and highest that was published.
    source : str
        Of the figures.
    """

    name: str
    relative_electron_density: float
    mass_density: float
    backscatter_percent: float
    backscatter_range_percent: tuple[float, float]
    source: str


#: Backscatter is gone behind this much water, mm (Chin 2009), and most of it behind a spacer (Reitemeier 2002).
BACKSCATTER_REACH_MM = (3.0, 5.0)
SPACER_MM = 3.0

_GOLD = Metal(
    "gold alloy", 11.5, 15.5, 30.0, (20.0, 100.0), "Au 75 Ag 12.5 Cu 12.5 % by mass; Chin 2009, Farahani 1990"
)
_TITANIUM = Metal("titanium", 3.68, 4.43, 15.0, (4.0, 18.0), "Ti-6Al-4V; TG-63, Stoll 1990, PMC6909125")
_STEEL = Metal("steel", 6.71, 8.0, 25.0, (12.5, 38.0), "316L; TG-63, Stoll 1990, Mahuvava 2018")
_COBALT_CHROME = Metal(
    "cobalt-chrome", 6.86, 8.3, 25.0, (12.5, 38.0), "Co 65 Cr 29 Mo 6 %; TG-63; backscatter as for steel, of like Z"
)
#: What is not declared gets the density in the middle of the others, and the whole range of backscatter.
_UNKNOWN = Metal("unknown metal", 6.71, 8.0, 30.0, (4.0, 100.0), "density of steel, between titanium 3.7 and gold 11.5")

METALS = {metal.name: metal for metal in (_GOLD, _TITANIUM, _STEEL, _COBALT_CHROME, _UNKNOWN)}
UNKNOWN = _UNKNOWN


def metal_named(name: str) -> Metal:
    """Return a metal by name.

    Raises
    ------
    MachineError
        If there is no such metal.
    """
    if name not in METALS:
        raise MachineError("unknown metal", found=name, expected=", ".join(METALS), code="unknown-metal")
    return METALS[name]


def backscatter_warning(metal: Metal, where: str, *, mucosa: bool) -> str:
    """Return the warning on dose upstream of a metal's surface, with the hint at a spacer where mucosa may touch it.

    Parameters
    ----------
    metal : Metal
        Its figures.
    where : str
        What and where it is.
    mucosa : bool
        Whether it is dental work, beside which mucosa lies.
    """
    low, high = metal.backscatter_range_percent
    tissue = "mucosa" if mucosa else "tissue"
    near, far = BACKSCATTER_REACH_MM
    text = (
        f"{where}: backscatter may raise the dose to {tissue} at its surface, on the side that a beam comes from, by "
        f"about {metal.backscatter_percent:.0f} % ({low:g} to {high:g} % published), gone within {near:g} to {far:g} "
        "mm; this is not in the dose"
    )
    return f"{text}; a spacer of about {SPACER_MM:g} mm between metal and mucosa avoids most of it" if mucosa else text
