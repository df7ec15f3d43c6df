"""From HU to linear attenuation at a stated photon energy: water below 0 HU, a mixture of water and bone above.

A CT number is an attenuation at the scanner's effective energy. Soft tissue keeps its ratio to water at other energies;
bone does not, because of its calcium. Above 0 HU a voxel is therefore taken as water and cortical bone side by side,
in the shares that give its HU on the scanner.

References
----------
.. [1] Hubbell JH, Seltzer SM. Tables of X-ray mass attenuation coefficients. NISTIR 5632 (1995): liquid water, and
   cortical bone of ICRU report 44 (1.92 g/cm³).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import RegistrationError, Volume

#: Effective energy of a kV set-up image behind a patient (80 to 120 kVp), keV.
ENERGY_KEV = 60.0
#: Effective energy of planning CT (120 to 130 kVp, beam hardened by the patient), keV.
CT_ENERGY_KEV = 70.0

# keV; water and cortical bone, cm²/g [1].
_TABLE = np.array(
    [
        (30.0, 0.3756, 1.331),
        (40.0, 0.2683, 0.6655),
        (50.0, 0.2269, 0.4242),
        (60.0, 0.2059, 0.3148),
        (80.0, 0.1837, 0.2229),
        (100.0, 0.1707, 0.1855),
        (150.0, 0.1505, 0.1480),
    ]
)
_BONE_DENSITY = 1.92
#: Above this HU there is metal, whose CT numbers mean nothing.
_MOST_HU = 3000.0


def water_and_bone_per_mm(energy_kev: float) -> tuple[float, float]:
    """Return the attenuation of water and of cortical bone, 1/mm.

    Raises
    ------
    RegistrationError
        Outside 30 to 150 keV.
    """
    low, high = _TABLE[0, 0], _TABLE[-1, 0]
    if not low <= energy_kev <= high:
        raise RegistrationError(
            "no attenuation is known at this energy", found=f"{energy_kev} keV", expected=f"{low:g} to {high:g} keV"
        )
    log = np.log(energy_kev)
    water, bone = (float(np.exp(np.interp(log, np.log(_TABLE[:, 0]), np.log(_TABLE[:, c])))) for c in (1, 2))
    return water / 10.0, bone * _BONE_DENSITY / 10.0


def attenuation_per_mm(hu: Volume, *, energy_kev: float = ENERGY_KEV, ct_energy_kev: float = CT_ENERGY_KEV) -> Volume:
    """Return linear attenuation in 1/mm, float32; what is not finite counts as air.

    Parameters
    ----------
    hu : Volume
        CT numbers.
    energy_kev : float
        Effective energy of the radiograph.
    ct_energy_kev : float
        Effective energy of the scanner.

    Raises
    ------
    RegistrationError
        If an energy is outside 30 to 150 keV.
    """
    water, bone = water_and_bone_per_mm(energy_kev)
    water_ct, bone_ct = water_and_bone_per_mm(ct_energy_kev)
    bone_hu = 1000.0 * (bone_ct / water_ct - 1.0)
    per_hu = np.float32((bone - water) / bone_hu)
    values: NDArray[np.float32] = np.nan_to_num(
        hu.array.astype(np.float32), nan=-1000.0, posinf=-1000.0, neginf=-1000.0
    )
    np.clip(values, -1000.0, _MOST_HU, out=values)
    below = np.float32(water / 1000.0) * (values + np.float32(1000.0))
    above = np.float32(water) + per_hu * values
    return hu.with_array(np.where(values > 0, above, below))
