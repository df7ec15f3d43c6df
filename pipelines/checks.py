"""Asset checks of a fraction, partitioned like the assets: what a physicist scans in the web UI."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dagster import AssetCheckResult, AssetCheckSeverity, MetadataValue, asset_check
from dagster_shared.utils.warnings import PreviewWarning

from .partitions import fraction_partitions
from .results import Withheld

with warnings.catch_warnings():
    # Partitions of checks are a preview in Dagster 1.13; a test runs them on the pinned version.
    warnings.simplefilter("ignore", PreviewWarning)

    @asset_check(asset="rigid_match", partitions_def=fraction_partitions, name="match_quality")
    def match_quality(rigid_match: Any) -> AssetCheckResult:
        """Check that the rigid match is within its limits."""
        return _result(rigid_match.quality.passed, rigid_match.quality.reasons)

    @asset_check(asset="couch_shift", partitions_def=fraction_partitions, name="shift_within_limits")
    def shift_within_limits(couch_shift: Any) -> AssetCheckResult:
        """Check that the shift is known and within the limits of table and protocol."""
        applied = couch_shift.applied
        return _result(applied is not None and applied.within_limits, couch_shift.reasons)

    @asset_check(asset="deformation", partitions_def=fraction_partitions, name="deformable_quality")
    def deformable_quality(deformation: Any) -> AssetCheckResult:
        """Check the deformable registration."""
        if isinstance(deformation, Withheld):
            return _result(False, (deformation.reason,))
        return _result(deformation.quality.passed, deformation.quality.reasons)

    @asset_check(asset="density_of_day", partitions_def=fraction_partitions, name="density_quality")
    def density_quality(density_of_day: Any) -> AssetCheckResult:
        """Check the density of the day."""
        if isinstance(density_of_day, Withheld):
            return _result(False, (density_of_day.reason,))
        return _result(density_of_day.passed, density_of_day.reasons)

    @asset_check(asset="goals_of_day", partitions_def=fraction_partitions, name="goals_met")
    def goals_met(goals_of_day: Any) -> AssetCheckResult:
        """Check every goal, by today's and the projected dose."""
        if isinstance(goals_of_day, Withheld):
            return _result(False, (goals_of_day.reason,))
        missed = [f"{row.goal}: {row.judged:.1f} ({row.status.value})" for row in goals_of_day.rows if not row.ok]
        return _result(not missed, missed)


def _result(passed: bool, reasons: Sequence[str]) -> AssetCheckResult:
    return AssetCheckResult(
        passed=bool(passed),
        severity=AssetCheckSeverity.WARN,
        metadata={"reasons": MetadataValue.json(list(reasons))},
    )


CHECKS = (match_quality, shift_within_limits, deformable_quality, density_quality, goals_met)
