"""The model of the report, its words and colours."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from importlib import resources

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.filling.figures import quality_figures
from pipelines.report import FractionReport
from pipelines.report.colors import contrast
from pipelines.report.parts import Curve, GoalLine, Shift
from pipelines.report.words import date_time, number, signed
from registration.quality import DeformableLimits, MatchQuality, judge_deformation

from .report_example import example_report


def test_json_fits_its_schema_and_comes_back(files):
    plain = json.loads(files.json.read_text(encoding="utf-8"))
    jsonschema.validate(plain, FractionReport.model_json_schema())
    assert FractionReport.model_validate(plain) == example_report()
    assert plain["schema_version"] == 1


def test_unknown_numbers_are_absent_not_zero():
    line = GoalLine(
        goal="PTV70 V70Gy[%] >= 95", planned=math.nan, today=np.float32(91), limit=95, status="met", ok=True
    )
    assert line.planned is None
    assert json.loads(line.model_dump_json())["planned"] is None
    assert number(None) == "–"
    with pytest.raises(ValidationError):
        Shift(vertical_mm=math.nan, longitudinal_mm=0, lateral_mm=0)


@dataclass(frozen=True)
class _Row:
    """Has the names of ``imrt_core.evaluate.goals.GoalRow``."""

    goal: object
    planned: float
    today: float
    accumulated: float | None
    projected: float | None
    low: float
    high: float
    limit: float
    status: str
    ok: bool


def test_goal_line_reads_the_evaluators_row():
    goal = GoalLine(goal="SpinalCord D0.03cc[Gy] <= 45 (hard)", limit=45, status="met", ok=True).parsed
    row = _Row(goal, 41.0, 43.0, None, 42.0, 41.0, 43.0, 45.0, "met", True)
    line = GoalLine.model_validate(row)
    assert line.goal == "SpinalCord D0.03cc[Gy] <= 45 (hard)"
    assert line.parsed.hard
    assert line.accumulated is None


def test_curve_is_thinned_and_ends_at_zero():
    dose = np.linspace(0, 80, 4001)
    volume = np.clip(60 - dose, 0, None)
    curve = Curve.from_arrays(dose, volume, total=60.0, points=100)
    assert len(curve.dose_gy) <= 100
    assert curve.volume_percent[0] == 100
    assert curve.volume_percent[-1] == 0
    assert curve.dose_gy[-1] == pytest.approx(60, abs=0.05)
    expected = np.clip(100 * (60 - np.asarray(curve.dose_gy)) / 60, 0, None)
    np.testing.assert_allclose(curve.volume_percent, expected, atol=0.02)


def test_numbers_in_words():
    assert number(-0.04, 1) == "0.0"
    assert number(-1.25, 2, "mm") == "−1.25\u00a0mm"
    assert signed(0.04, 1) == "0.0"
    assert signed(2.0) == "+2.0"
    assert date_time("2026-03-19T08:41:12.500000+01:00") == "2026-03-19 08:41:12+01:00"
    assert date_time("") == "–"


def _colours(block: str) -> dict[str, tuple[int, int, int]]:
    found = re.findall(r"--([\w-]+):\s*#([0-9a-f]{6})", block)
    return {name: tuple(int(code[i : i + 2], 16) for i in (0, 2, 4)) for name, code in found}


def test_text_colours_have_enough_contrast_in_light_and_dark():
    """WCAG 2.2 AA: 4.5:1 for text."""
    css = resources.files("pipelines.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    light = _colours(css.split("@media")[0])
    dark = {**light, **_colours(css.split("@media")[1])}
    for theme in (light, dark):
        for ground in ("card", "ground"):
            for name in ("text", "muted", "good", "bad", "warn", "info", "link"):
                assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
        for name in ("good", "bad", "warn", "info"):
            assert contrast((255, 255, 255), theme[f"{name}-ground"]) >= 4.5


def test_figures_of_a_match_are_judged_by_its_limits():
    quality = judge_deformation(
        limits=DeformableLimits(0.0, 1.0, 2.0),
        jacobian_min=0.5,
        jacobian_max=1.2,
        folded_percent=0.0,
        inverse_error_mean_mm=0.4,
        inverse_error_max_mm=2.5,
        correlation_before=0.9,
        correlation_after=float("nan"),
        displacement_mean_mm=1.0,
        displacement_max_mm=4.0,
        bone_displacement_mm=0.2,
        seen_fraction=0.9,
        smoothed_folds=0,
    )
    figures = {f.name: f for f in quality_figures(quality)}
    assert (figures["folded"].limit, figures["folded"].passed, figures["folded"].unit) == ("<= 0", True, "%")
    assert (figures["inverse error max"].limit, figures["inverse error max"].passed) == ("<= 2", False)
    assert (figures["jacobian min"].limit, figures["jacobian min"].passed) == ("", None)
    assert "correlation after" not in figures
    match = {f.name: f for f in quality_figures(MatchQuality(True, (), "bone", 0.9, 0.6, 1.0, *(0.0,) * 7, 1000))}
    assert (match["correlation"].limit, match["correlation"].passed) == (">= 0.75", True)
    assert (match["bone dice"].limit, match["bone dice"].passed) == (">= 0.7", False)
