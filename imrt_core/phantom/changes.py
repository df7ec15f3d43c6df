"""What changes in a patient between planning and each fraction, per site.

Amplitudes are parameters with published orders of magnitude as defaults; the geometry follows from them, no dose
figure is ever set by hand.

References
----------
.. [1] Barker JL et al. Quantification of volumetric and geometric changes occurring during fractionated radiotherapy
   for head-and-neck cancer. IJROBP 59 (2004) 960-970: parotids lose about 28 % and move medially by 3 mm.
.. [2] Vásquez Osorio EM et al. Local anatomic changes in parotid and submandibular glands. IJROBP 70 (2008) 875-882.
.. [3] Roeske JC et al. Evaluation of changes in the size and location of the prostate, seminal vesicles, bladder and
   rectum during a course of external beam radiation therapy. IJROBP 33 (1995) 1321-1329.
.. [4] Sonke JJ et al. Respiratory correlated cone beam CT and baseline shifts. IJROBP 70 (2008) 590-598.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import StructureSet

from .deformation import OrganChange, SkinRetraction, Source, WallShift


@dataclass(frozen=True)
class HeadNeckChange:
    """Shrinking glands and a thinner neck; values are those of the last fraction (Barker 2004, Vásquez Osorio 2008).

    Parameters
    ----------
    gland_volume_loss : float
        Share of the volume that salivary glands lose by their own shrinkage (skin retraction adds to it).
    gland_medial_mm : float
        Movement of the parotids towards the midline, where bone lets them.
    neck_loss_mm : float
        Retraction of the skin over thick tissue.
    variation : float
        Day-to-day variation (standard deviation) of the progress.
    """

    gland_volume_loss: float = 0.1
    gland_medial_mm: float = 4.0
    neck_loss_mm: float = 7.0
    variation: float = 0.04

    def sources(self, structures: StructureSet, *, progress: float, rng: np.random.Generator) -> tuple[Source, ...]:
        """Return what has changed when the share ``progress`` of the course has gone by."""
        # Shrinkage is fastest at first (Barker 2004): two thirds of it are reached at half of the course.
        done = (1 - (1 - progress) ** 1.6) * float(np.clip(1 + self.variation * rng.standard_normal(), 0.9, 1.1))
        left = 1 - self.gland_volume_loss * done
        found: list[Source] = []
        levels = []
        for suffix, medial in (("L", -1.0), ("R", 1.0)):
            name = f"Parotid_{suffix}"
            if name in structures and not structures[name].is_empty:
                # The deep lobe is held between ramus and mastoid: what a parotid loses, it loses from its outside.
                found.append(
                    OrganChange(
                        name,
                        scale=(left**0.6, left**0.2, left**0.2),
                        shift_mm=(medial * self.gland_medial_mm * done, 0.0, 0.0),
                        anchor=(0.0 if suffix == "L" else 1.0, 0.5, 0.5),
                        reach_mm=24.0,
                    )
                )
                points = np.concatenate([c.points_lps for c in structures[name].contours])
                levels.append(float(points[:, 2].min() + points[:, 2].max()) / 2)
            # The submandibular gland draws back to the mandible, which is lateral, anterior and superior of it.
            anchor = (1.0 if suffix == "L" else 0.0, 0.2, 0.9)
            found.append(OrganChange(f"Glnd_Submand_{suffix}", scale=(left ** (1 / 3),) * 3, anchor=anchor))
        if levels:
            middle = float(np.mean(levels))
            found.append(SkinRetraction(self.neck_loss_mm * done, (middle - 60.0, middle + 10.0)))
        return tuple(found)


@dataclass(frozen=True)
class PelvisChange:
    """Bladder and rectum fill differently every day (Roeske 1995); no trend.

    Parameters
    ----------
    bladder_volume_sd : float
        Relative standard deviation of the bladder's volume.
    rectum_wall_sd_mm : float
        Standard deviation of the rectal wall's position; the prostate follows it.
    """

    bladder_volume_sd: float = 0.28
    rectum_wall_sd_mm: float = 2.2

    def sources(self, structures: StructureSet, *, progress: float, rng: np.random.Generator) -> tuple[Source, ...]:
        """Return today's filling; ``progress`` has no influence, ``structures`` none either."""
        del structures, progress
        volume = float(np.clip(1 + self.bladder_volume_sd * rng.standard_normal(), 0.55, 1.6))
        wall = float(np.clip(rng.standard_normal(), -2, 2)) * self.rectum_wall_sd_mm
        side = volume ** (1 / 3)
        # A bladder grows upward and forward from its neck.
        bladder = OrganChange("Bladder", scale=(side, side, side), anchor=(0.5, 0.75, 0.05), reach_mm=38.0)
        return (bladder, WallShift("Rectum", wall))


@dataclass(frozen=True)
class LungChange:
    """Baseline shift of the tumour, diaphragm level, tumour shrinkage (Sonke 2008).

    Parameters
    ----------
    baseline_sd_mm : float
        Standard deviation of the tumour's baseline cranio-caudally; half of it antero-posteriorly.
    diaphragm_sd_mm : float
        Standard deviation of the lungs' base, cranio-caudally.
    tumour_volume_loss : float
        Share of the tumour's volume gone at the last fraction.
    """

    baseline_sd_mm: float = 3.0
    diaphragm_sd_mm: float = 5.0
    tumour_volume_loss: float = 0.3

    def sources(self, structures: StructureSet, *, progress: float, rng: np.random.Generator) -> tuple[Source, ...]:
        """Return today's lung position."""
        draws = np.clip(rng.standard_normal(3), -2, 2)
        scale = (1 - self.tumour_volume_loss * progress) ** (1 / 3)
        found: list[Source] = [
            OrganChange(
                "GTV",
                scale=(scale,) * 3,
                shift_mm=(0.0, float(draws[1]) * self.baseline_sd_mm / 2, float(draws[0]) * self.baseline_sd_mm),
                reach_mm=32.0,
            )
        ]
        for name in ("Lung_L", "Lung_R"):
            if name in structures and not structures[name].is_empty:
                z = np.concatenate([c.points_lps[:, 2] for c in structures[name].contours])
                height = max(float(np.ptp(z)), 1.0)
                # The apex stays: the base moves by the drawn amount, what lies between in proportion.
                stretch = 1 - float(draws[2]) * self.diaphragm_sd_mm / height
                found.append(OrganChange(name, scale=(1.0, 1.0, stretch), anchor=(0.5, 0.5, 1.0), reach_mm=25.0))
        return tuple(found)


AnatomyChange = HeadNeckChange | PelvisChange | LungChange
