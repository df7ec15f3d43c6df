"""Tables of docs/validation.md about radiographs."""

from __future__ import annotations

from typing import Any

from markdown_rows import rows_of


def registration_2d3d(result: dict[str, Any]) -> str:
    """Return the table of simulated kV pairs matched to their planning CT."""
    rows = [
        [
            name,
            str(row["pairs"]),
            " / ".join(f"{row[key]:.2f}" for key in ("median_mm", "p95_mm", "max_mm")),
            " / ".join(f"{row[key]:.2f}" for key in ("median_deg", "p95_deg", "max_deg")),
            f"{row['success_percent']:.1f}",
            f"{row['passed_percent']:.1f}",
            f"{row['seconds_median']:.1f} / {row['seconds_max']:.1f}",
            f"{row['cpu_seconds_median']:.1f}",
        ]
        for name, row in {**result["patients"], "all": result["all"]}.items()
    ]
    head = [
        "patient",
        "pairs",
        "error, mm: median / 95 % / max",
        "error, °: median / 95 % / max",
        f"success, % ({result['success']})",
        "quality passed, %",
        "seconds: median / max",
        "processor seconds, median",
    ]
    other = result["another_patient"]
    return (
        rows_of(head, rows)
        + f"\nOf {other['pairs']} pairs of another patient, {other['passed']} passed; the higher correlation that the "
        + f"worse view of such a pair reached was {other['highest_correlation_of_the_worse_view']:.2f} (limit 0.70). "
        + f"Matches that passed and were wrong: {result['all']['passed_but_wrong']}.\n"
    )
