"""Tables of docs/validation.md about registration."""

from __future__ import annotations

from typing import Any

from markdown_rows import rows_of


def pair(result: dict[str, Any]) -> str:
    """Return the table of all tools on one pair."""

    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    def errors(figures: dict[str, Any], digits: int = 3) -> list[str]:
        return [number(figures[key], digits) for key in ("mean_mm", "p95_mm", "max_mm")]

    rows = [["start", "", "", *errors(result["initial"]), "", ""]]
    for name, tool in result["tools"].items():
        if tool is None:
            rows.append([name, "not run", result["not_run"][name][:80].replace("|", "/"), "", "", "", "", ""])
            continue
        rows.append(
            [
                name,
                number(tool["seconds"], 1),
                number(tool["cpu_seconds"], 1),
                *errors(tool),
                number(tool["folded_percent"], 3),
                f"{tool['inverse_mean_mm']:.3f} / {tool['inverse_max_mm']:.2f}",
            ]
        )
    head = ["tool", "s", "CPU s", "mean, mm", "95 %, mm", "max, mm", "folded, %", "inverse, mean / max mm"]
    return rows_of(head, rows)


def cohort(result: dict[str, Any]) -> str:
    """Return the table of rigid success on the simulated cohort."""

    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = [
        [
            name,
            f"{f['success_percent']:.0f} % of {f['cases']}",
            f"{text(f['median_mm'])} / {text(f['median_deg'])}",
            f"{text(f['max_mm'])} / {text(f['max_deg'])}",
            f"{f['passed_of_successes']}/{f['cases']}",
            f"{f['other_patients_that_passed']}/{f['other_patients']}",
        ]
        for name, f in (*result["by_patient"].items(), ("**all**", result["all"]))
    ]
    head = [
        "patient",
        "success",
        "median, mm / °",
        "max, mm / °",
        "right images that passed",
        "other patients that passed",
    ]
    return rows_of(head, rows)
