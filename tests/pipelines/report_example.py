"""A fraction report with every section filled, of the patient in :mod:`report_images`."""

from __future__ import annotations

import numpy as np

from pipelines.report.model import FractionReport
from pipelines.report.parts import (
    AuditEntry,
    BeamRow,
    BodyContour,
    Curve,
    DeformableReport,
    DensityReport,
    DoseBasis,
    DvhPair,
    EngineBaseline,
    FractionState,
    GoalLine,
    ImageSummary,
    MatchReport,
    MuCheckRow,
    NamedHash,
    NamedVersion,
    PlanComparison,
    PlanOfDay,
    PlanSummary,
    Provenance,
    QualityFigure,
    Shift,
    ShiftReport,
    StageSeconds,
    StructureRow,
    TissueCheck,
)

from .report_images import ISOCENTRE_LPS, MACHINE_ISOCENTRE_LPS, anatomy

FRACTIONS = 35


def example_report(**changes: object) -> FractionReport:
    """A re-optimised fraction with every part present; ``changes`` replace fields."""
    dose_axis = np.linspace(0, 78, 300)

    def curve(d50: float, width: float, shift: float = 0.0) -> Curve:
        return Curve.from_arrays(dose_axis, 100 / (1 + np.exp((dose_axis - d50 - shift) / width)), total=100.0)

    kinds = {p.name: p for p in anatomy()}
    shape = (
        ("PTV70", 70.5, 0.7, -1.6),
        ("CTV70", 71.0, 0.5, -0.4),
        ("SpinalCord", 24.0, 5.0, 3.0),
        ("Parotid_L", 21.0, 7.0, 6.0),
        ("Parotid_R", 17.0, 6.0, 1.0),
    )
    base = FractionReport(
        course="demo-head-neck",
        site="head-neck",
        protocol="head-neck",
        decision="reoptimise",
        reasons=(
            "Parotid_L mean dose is projected at 27.4 Gy, limit 26 Gy.",
            "PTV70 V70Gy falls from 96.1 % to 91.0 % on today's anatomy.",
        ),
        fraction=FractionState(number=18, planned=FRACTIONS, clinic_date="2026-03-19", delivery="pending"),
        image=ImageSummary(
            acquired="2026-03-19T08:41:12.500000+01:00",
            modality="CT",
            device="igrt phantom, CBCT",
            kvp=100.0,
            patient_position="HFS",
            patient_position_source="image",
            series_uid="1.2.826.0.1.3680043.8.498.11111111111111111111111111111111111111",
            spacing_mm=(2.7, 2.7, 3.5),
            shape_zyx=(60, 80, 80),
        ),
        plan=PlanSummary(
            label="HN70 plan A",
            sop_instance_uid="1.2.826.0.1.3680043.8.498.22222222222222222222222222222222222222",
            approval_status="APPROVED",
            intent="CURATIVE",
            fractions_planned=FRACTIONS,
            prescription_gy=(("PTV70", 70.0),),
            total_mu=812.4,
        ),
        shift=ShiftReport(
            found=Shift(
                vertical_mm=-3.04, longitudinal_mm=-5.02, lateral_mm=-9.96, pitch_deg=0.42, roll_deg=-0.73, yaw_deg=0.04
            ),
            proposed=Shift(vertical_mm=-3.0, longitudinal_mm=-5.0, lateral_mm=-10.0),
            applied=Shift(vertical_mm=-3.0, longitudinal_mm=-5.0, lateral_mm=-10.0),
            residual=Shift(
                vertical_mm=-0.04, longitudinal_mm=-0.02, lateral_mm=0.04, pitch_deg=0.42, roll_deg=-0.73, yaw_deg=0.04
            ),
            apply_shift=True,
            within_limits=True,
            reasons=("The table cannot make pitch and roll; they remain.",),
            machine_isocentre_lps=MACHINE_ISOCENTRE_LPS,
            machine_isocentre_source="machine file, rule cbct: origin",
            planned_isocentre_lps=ISOCENTRE_LPS,
            patient_position="HFS",
        ),
        match=MatchReport(
            roi="bone within 40 mm of PTV70",
            passed=True,
            translation_mm=(8.0, 5.0, 35.0),
            rotation_deg=(0.42, -0.73, 0.04),
            centre_lps=ISOCENTRE_LPS,
            metric_name="Mutual information",
            metric=0.8412,
            target_minus_bone_mm=(1.2, -0.4, 0.02),
            figures=(
                QualityFigure(name="Overlap of the images", value=97.2, unit="%", limit=">= 60", passed=True),
                QualityFigure(name="Spread of restarts", value=0.21, unit="mm", limit="<= 1", passed=True),
            ),
            seconds=2.4,
        ),
        deformable=DeformableReport(
            passed=True,
            method="multi-resolution demons",
            figures=(
                QualityFigure(name="Folded voxels", value=0.0, unit="%", limit="<= 0", passed=True),
                QualityFigure(
                    name="Inverse consistency, 95th percentile", value=0.84, unit="mm", limit="<= 2", passed=True
                ),
            ),
        ),
        structures=tuple(
            StructureRow(
                name=name,
                interpreted_type=kinds[name].kind,
                method="CTV of day + 5 mm" if name == "PTV70" else "rigid" if name == "CTV70" else "deformable",
                planned_volume_cc=planned,
                day_volume_cc=today,
                dice=0.91,
                centroid_shift_mm=0.7,
            )
            for name, planned, today in (
                ("PTV70", 168.1, 168.0),
                ("CTV70", 104.2, 104.2),
                ("SpinalCord", 25.1, 25.0),
                ("Parotid_L", 41.2, 33.4),
                ("Parotid_R", 41.2, 33.6),
            )
        ),
        density=DensityReport(
            method="histogram match to the planning CT within the body",
            curve="generic CBCT 100 kVp",
            passed=True,
            tissues=(
                TissueCheck(
                    tissue="fat", planned_hu=-98, day_hu=-104, planned_red=0.93, day_red=0.925, limit_hu=30, passed=True
                ),
                TissueCheck(
                    tissue="muscle", planned_hu=48, day_hu=41, planned_red=1.04, day_red=1.033, limit_hu=30, passed=True
                ),
            ),
        ),
        body_contour=BodyContour(
            largest_mm=6.2, mean_mm=3.1, flagged=True, where="left neck, 20 mm superior of the isocentre"
        ),
        beams=tuple(
            BeamRow(
                number=index + 1,
                name=f"G{gantry:03d}",
                gantry_deg=gantry,
                mu=812.4 / 7,
                ssd_planned_mm=905.0 + 3 * index,
                ssd_today_mm=908.2 + 4 * index,
                radiological_depth_planned_mm=94.0 - index,
                radiological_depth_today_mm=91.1 - 2.1 * index,
                fraction_dose_at_isocentre_planned_gy=0.291,
                fraction_dose_at_isocentre_today_gy=0.297,
            )
            for index, gantry in enumerate((0, 51, 103, 154, 206, 257, 309))
        ),
        dose=DoseBasis(
            engine="beamlet",
            engine_version="0.1.0",
            machine="generic_6mv",
            machine_version="1",
            beam_model_sha256="c0ffee" * 10 + "abcd",
            grid_mm=3.0,
            shift_used="proposed",
            warnings=("Beam G154: field 2.1 cm wide is outside the commissioned range (3 to 40 cm).",),
            fraction_max_gy=2.14,
        ),
        goals=(
            GoalLine(
                goal="PTV70 V70Gy[%] >= 95",
                planned=96.1,
                tps=96.4,
                today=91.0,
                accumulated=48.2,
                projected=93.9,
                low=92.0,
                high=95.4,
                limit=95,
                status="undecided",
                ok=False,
            ),
            GoalLine(
                goal="Parotid_L Mean[Gy] < 26",
                planned=23.9,
                tps=23.5,
                today=29.1,
                accumulated=12.6,
                projected=27.4,
                low=26.4,
                high=28.3,
                limit=26,
                status="violated",
                ok=False,
            ),
            GoalLine(
                goal="SpinalCord D0.03cc[Gy] <= 45 (hard)",
                planned=41.2,
                tps=40.8,
                today=43.0,
                accumulated=20.1,
                projected=42.1,
                low=41.5,
                high=42.8,
                limit=45,
                status="met",
                ok=True,
            ),
        ),
        dvh=tuple(
            DvhPair(
                structure=name,
                color_rgb=kinds[name].color_rgb,
                planned=curve(d50, width),
                today=curve(d50, width, shift),
            )
            for name, d50, width, shift in shape
        ),
        baseline=EngineBaseline(
            validated=True,
            gamma_pass_percent=97.4,
            figures=(
                QualityFigure(name="Target mean", value=0.6, unit="%", limit="<= 2 % of prescription", passed=True),
            ),
        ),
        plan_of_day=PlanOfDay(
            outcome="reoptimised",
            reason="Re-optimised from the plan of record for today's anatomy.",
            label="IGRT DAY fx18 UNAPPROVED",
            sop_instance_uid="1.2.826.0.1.3680043.8.498.33333333333333333333333333333333333333",
            apply_shift=True,
            isocentre_lps=(10.0, -3.0, 5.0),
            total_mu=840.2,
            total_mu_of_record=812.4,
            segments=71,
            modulation_complexity_score=0.312,
            modulation_complexity_score_of_record=0.347,
            seconds=21.3,
            comparison=(
                PlanComparison(
                    goal="PTV70 V70Gy[%] >= 95",
                    scheduled=91.0,
                    plan_of_day=95.6,
                    limit=95,
                    scheduled_ok=False,
                    plan_of_day_ok=True,
                ),
                PlanComparison(
                    goal="Parotid_L Mean[Gy] < 26",
                    scheduled=29.1,
                    plan_of_day=25.2,
                    limit=26,
                    scheduled_ok=False,
                    plan_of_day_ok=True,
                ),
            ),
            mu_check=QualityFigure(
                name="Independent MU check", value=-2.1, unit="%", limit="<= 5", note="1 of 2 beams judged"
            ),
            mu_check_beams=(
                MuCheckRow(
                    number=1,
                    name="G000",
                    mu=118.2,
                    mu_by_check=115.7,
                    point_lps=(12.0, -1.0, 5.0),
                    check_dose_gy=0.291,
                    engine_dose_gy=0.285,
                    difference_percent=-2.1,
                    passed=True,
                ),
                MuCheckRow(
                    number=2,
                    name="G051",
                    mu=121.0,
                    point_lps=(12.0, -1.0, 5.0),
                    check_dose_gy=0.031,
                    engine_dose_gy=0.036,
                    note="the dose changes by 3.1 % per mm across the beam (edge or modulation), at most 2 %",
                ),
            ),
            checks=(QualityFigure(name="Leaf and MU limits", passed=True),),
        ),
        missing=("Uncertainty of the dose bands holds registration only in this version.",),
        checks=(
            QualityFigure(name="Frames and references", passed=True),
            QualityFigure(name="Image covers the target", value=100.0, unit="%", limit=">= 100", passed=True),
        ),
        audit=(
            AuditEntry(when="2026-03-19T08:42:01+01:00", who="igrt", what="image received and complete"),
            AuditEntry(when="2026-03-19T08:43:01+01:00", who="igrt", what="decision reoptimise"),
        ),
        stage_seconds=(
            StageSeconds(stage="rigid_match", seconds=2.4),
            StageSeconds(stage="deformation", seconds=6.1),
            StageSeconds(stage="dose_of_day", seconds=4.0),
        ),
        provenance=Provenance(
            software_version="0.1.0",
            protocol="head-neck",
            protocol_version="1",
            versions=(NamedVersion(name="Python", version="3.11"), NamedVersion(name="SimpleITK", version="2.5")),
            hashes=(NamedHash(what="image of the day", sha256="ab" * 32), NamedHash(what="RTPLAN", sha256="cd" * 32)),
        ),
        written_at="2026-03-19T08:43:05+01:00",
    )
    return FractionReport.model_validate({**base.model_dump(), **changes})
