"""What the figures of a fraction report are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import DisplacementField, RigidTransform, StructureSet, Volume


@dataclass(frozen=True, eq=False, kw_only=True)
class FractionImages:
    """Volumes, doses, structures and transforms for the figures; None where a stage did not run.

    Two frames only. *Planning*: the planning CT's LPS. *Day*: LPS of the image of the day **as acquired**, before the
    couch moved. A dose computed on the patient after the shift (a grid carried along by ``patient_motion_lps``) comes
    back to the day frame without resampling: ``dose.with_grid(dose.grid.transformed(motion.inverse()))``.

    Parameters
    ----------
    planning_hu, day_hu : Volume
        HU, in the planning and in the day frame.
    isocentre_lps : tuple of float
        Planned isocentre, planning frame, mm: the three planes of every figure go through it.
    machine_isocentre_lps : tuple of float or None
        Machine isocentre in the day frame, mm; None where unknown (no "before the shift" overlay then).
    moving_from_fixed : RigidTransform or None
        The match: planning points to day points.
    shift_motion_lps : RigidTransform or None
        ``registration.patient_motion_lps`` of the *applied* shift: day points to where they are after the table moved.
        None where the shift is withheld; the "after" overlay is then drawn with the match itself.
    deformation : DisplacementField or None
        Planning points to day points.
    course_dose_planned_gy : Volume or None
        Our dose of the plan of record on the planning CT, planning frame, Gy for the whole course.
    course_dose_today_gy : Volume or None
        Today's fraction dose × planned fractions, day frame as acquired, Gy.
    structures_planned : StructureSet or None
        Planning frame.
    structures_day : StructureSet or None
        Propagated, day frame as acquired.
    """

    planning_hu: Volume
    day_hu: Volume
    isocentre_lps: tuple[float, float, float]
    machine_isocentre_lps: tuple[float, float, float] | None = None
    moving_from_fixed: RigidTransform | None = None
    shift_motion_lps: RigidTransform | None = None
    deformation: DisplacementField | None = None
    course_dose_planned_gy: Volume | None = None
    course_dose_today_gy: Volume | None = None
    structures_planned: StructureSet | None = None
    structures_day: StructureSet | None = None

    @property
    def before_from_planning(self) -> RigidTransform | None:
        """Day points at which the planning points would be if the set-up were perfect: isocentre on isocentre."""
        if self.machine_isocentre_lps is None:
            return None
        step = np.subtract(self.machine_isocentre_lps, self.isocentre_lps)
        return RigidTransform.from_parameters(translation_mm=step)

    @property
    def after_from_planning(self) -> RigidTransform | None:
        """Day points that stand at the planning points once the shift is made; the match where there is no shift."""
        before = self.before_from_planning
        if before is None or self.shift_motion_lps is None:
            return self.moving_from_fixed
        return self.shift_motion_lps.inverse() @ before
