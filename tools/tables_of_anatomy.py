"""Tables of docs/validation.md about breathing and the density of the day."""

from __future__ import annotations

from typing import Any

from markdown_rows import rows_of


def breathing(result: dict[str, Any]) -> str:
    """Return the table of 4DCTs followed and 4D-CBCTs matched."""
    rows = []
    for case in result["cases"]:
        day, free = case["4d_cbct"], case["free_breathing"]
        rows.append(
            [
                case["patient"],
                " / ".join(f"{v:.1f}" for v in case["true_amplitude_mm"]),
                " / ".join(f"{v:.1f}" for v in case["amplitude_mm"]),
                f"{case['displacement_error_max_mm']:.2f}",
                f"{case['itv_dice']:.3f}",
                "yes" if case["mid_ventilation"] == case["true_mid_ventilation"] else "no",
                f"{day['baseline_error_mm']:.2f} / {day['phase_error_max_mm']:.2f}" + _failed(day),
                f"{free['baseline_error_mm']:.2f}" + _failed(free),
                f"{case['seconds_per_phase']:.1f}",
            ]
        )
    head = [
        "patient",
        "true amplitude L-R / A-P / S-I (mm)",
        "found (mm)",
        "largest error of a phase (mm)",
        "ITV, Dice",
        "mid-ventilation phase right",
        "4D-CBCT: baseline shift / largest phase off by (mm)",
        "free-breathing CBCT: off by (mm)",
        "s per phase",
    ]
    return rows_of(head, rows)


def _failed(match: dict[str, Any]) -> str:
    return "" if match["passed"] else ", not believed"


def density(result: dict[str, Any]) -> str:
    """Return the table of errors in HU and in dose of the density of the day."""
    rows = [
        [
            f"{case['patient']}, fx{case['fraction']:02d}",
            row["method"],
            f"{row['mean_hu']:+.1f}",
            f"{row['mean_absolute_hu']:.1f}",
            f"{row['d95_percent']:+.2f}",
            "yes" if row["passed"] else "no",
        ]
        for case in result["cases"]
        for row in case["methods"]
    ]
    head = [
        "patient",
        "method",
        "mean (HU)",
        "mean absolute (HU)",
        "target D95 (% of prescription)",
        "tissue checks hold",
    ]
    return rows_of(head, rows)


def propagation(result: dict[str, Any]) -> str:
    """Return the table of organs of the day against the true ones; what the image shows less than 99 % of is marked."""
    rows = [
        [
            f"{case['patient']}, fx{case['fraction']:02d}",
            row["organ"],
            f"{row['true_cc']:.0f}",
            f"{100 * row['shown']:.0f}" + (" (cut)" if row["shown"] < 0.99 else ""),
            f"{row['dice_rigid']:.3f}",
            f"{row['dice']:.3f}",
            f"{row['mean_distance_mm']:.2f}",
            f"{row['hausdorff95_mm']:.1f}",
        ]
        for case in result["cases"]
        for row in case["organs"]
    ]
    head = ["patient", "organ", "true volume (cc)", "shown (%)", "Dice, rigid match alone", "Dice"]
    return rows_of([*head, "mean distance (mm)", "Hausdorff 95 (mm)"], rows)


def deformable_uncertainty(result: dict[str, Any]) -> str:
    """Return the table of stated and true errors of the deformable match."""
    rows = []
    for case in result["cases"]:
        pairs = [
            f"{case[f'error_rms{part}']:.2f} / {case[f'spread_rms{part}']:.2f}"
            for part in ("_mm", "_least_quarter_mm", "_most_quarter_mm")
        ]
        rows.append(
            [
                case["patient"],
                *pairs,
                f"{case['within_twice_percent']:.0f}",
                f"{case['rank_correlation']:.2f}",
                f"{case['metric_z_rms']:.2f}",
                f"{case['metric_within_two_percent']:.0f}",
                f"{case['seconds_of_samples']:.0f}",
            ]
        )
    head = [
        "patient",
        "error / stated (mm, root mean square)",
        "quarter of voxels stated most certain",
        "least certain",
        "error within twice the stated (%)",
        "rank correlation",
        "DVH metrics: error / stated, root mean square",
        "within twice (%)",
        f"s for {result['samples']} draws",
    ]
    return rows_of(head, rows)
