"""Tables of docs/validation.md about plans: the daily chain, planning, optimisation."""

from __future__ import annotations

from typing import Any

from markdown_rows import rows_of


def daily(result: dict[str, Any]) -> str:
    """Return the table of the daily chain on real planning CTs."""
    rows = [
        [
            p["id"],
            f"{p['shift_error_mm']:.2f}",
            f"{p['rotation_error_deg']:.2f}",
            f"{p['seconds']:.0f}",
            f"{p['course_add_seconds']:.0f}",
            ", ".join(p["decisions"]),
            f"{p['goals_met']}/{p['goals_judged']}",
            f"{p['dvh_mean_difference_gy']:.2f} / {p['dvh_d95_difference_gy']:.2f}",
            str(p["reports_written"]),
        ]
        for p in result["patients"]
    ]
    rows += [
        [f["id"], "failed", f["step"], "", "", f["message"][:80].replace("|", "/"), "", "", ""]
        for f in result["failed"]
    ]
    head = [
        "patient",
        "shift error, mm",
        "rotation error, °",
        "s per fraction",
        "s course add",
        "decisions",
        "plan goals met",
        "DVH Δmean / ΔD95, Gy",
        "reports",
    ]
    limits = result["limits"]
    inside = f"{result['within_limits']} of {len(result['patients']) + len(result['failed'])} patients within"
    median = result["median_seconds"]
    return (
        rows_of(head, rows)
        + f"\n{inside} {limits['shift_mm']} mm and {limits['rotation_deg']}°; "
        + (f"median fraction {median:.0f} s (limit {limits['median_seconds']:.0f} s).\n" if median else "no figures.\n")
    )


def conformal(result: dict[str, Any]) -> str:
    """Return the table of 3D conformal against intensity-modulated plans."""
    rows = []
    for patient in result["patients"]:
        pair = (patient["conformal"], patient["imrt"])
        near = patient["contralateral"]
        other = next((n for n in patient["imrt"]["parotid_mean_gy"] if n != near), None)
        conformity = [list(p["conformity_index"].values()) for p in pair]
        rows.append(
            [
                patient["patient"],
                " / ".join(f"{p['parotid_mean_gy'][near]:.1f}" for p in pair),
                " / ".join(f"{p['parotid_mean_gy'][other]:.1f}" for p in pair) if other else "–",
                "; ".join(
                    f"{name} " + " / ".join(f"{p['d95_gy'][name]:.1f}" for p in pair) for name in pair[0]["d95_gy"]
                ),
                "; ".join(" / ".join(f"{value:.2f}" for value in level) for level in zip(*conformity, strict=True)),
                " / ".join(f"{p['goals_met_as_planned']} → {p['goals_met']}" for p in pair) + f" of {pair[0]['goals']}",
                " / ".join(f"{p['mu']:.0f}" for p in pair),
                " / ".join(f"{p['modulation_complexity_score']:.2f}" for p in pair),
                " / ".join(f"{p['treatment_seconds']:.0f}" for p in pair),
                " / ".join(f"{p['integral_dose_gy_l']:.0f}" for p in pair),
            ]
        )
    head = [
        "3D conformal / IMRT",
        "contralateral parotid, mean Gy",
        "other parotid, mean Gy",
        "D95, Gy",
        "Paddick conformity by level",
        "goals met, as planned → scaled",
        "MU",
        "MCS",
        "s with gantry",
        "integral dose, Gy·l",
    ]
    return rows_of(head, rows)


def fluence(result: dict[str, Any]) -> str:
    """Return the table of fluence optimisation against other solvers."""
    names = {"ours": "ours", "pyradplan": "pyRadPlan 0.5.0", "scipy": "scipy L-BFGS-B", "ipopt": "IPOPT"}
    rows = []
    for name, figures in {"ours": result["ours"], **result["peers"]}.items():
        if figures is None:
            rows.append([names[name], "not run", "", "", "", "", result["not_run"][name].splitlines()[-1]])
            continue
        reached = figures["seconds_to_peer_objective"]
        cpu = figures.get("cpu_seconds_to_peer_objective")
        rows.append(
            [
                names[name],
                f"{figures['iterations']}",
                f"{figures['objective']:.2f}",
                f"{figures['seconds']:.1f}",
                f"{figures['cpu_seconds']:.1f}",
                "never" if reached is None else f"{reached:.1f}",
                "" if cpu is None else f"{cpu:.1f}",
            ]
        )
    head = ["solver", "iterations", "objective", "s", "CPU s", "s to the peer's objective", "CPU s to it"]
    ours = result["ours"]
    ratios = (
        "The peer's objective is not reached."
        if result["ratio"] is None
        else f"Time to the peer's objective 1/{1 / result['ratio']:.1f} of the peer's, CPU time "
        f"1/{1 / result['cpu_ratio']:.1f} ({ours['iterations_to_peer_objective']} iterations)."
    )
    return rows_of(head, rows) + (
        f"\n{ratios} Ours: {ours['threads']} threads, compilation {ours['compile_seconds']:.0f} s apart, KKT residual "
        f"at the end {ours['kkt_residual']:.0e}. The peer's objective is reproduced from its weights within "
        f"{result['objective_reproduced_within']:.0e}. Load average before and after our run: "
        f"{' and '.join(f'{load:g}' for load in result['load_average'])}.\n"
    )


def plans(result: dict[str, Any]) -> str:
    """Return the table of deliverable plans of OpenKBP patients."""
    rows = [
        [
            p["id"],
            f"{p['targets_met']} / {p['targets_met_reference']} of {p['targets_judged']}",
            f"{p['targets_met_with_air']} / {p['targets_met_with_air_reference']}",
            f"{p['oars_met']} / {p['oars_met_reference']} of {p['oars_judged']}",
            f"{p['coverage_difference_gy']:+.1f}",
            f"{p['oar_mean_gy']:.1f} / {p['oar_mean_reference_gy']:.1f}" + ("" if p["organs_comparable"] else " *"),
            f"{max(map(abs, p['fluence_difference_percent'].values())):.1f}",
            f"{p['mu']:.0f}",
            f"{p['seconds']:.0f} / {p['cpu_seconds']:.0f}",
        ]
        for p in result["patients"]
    ]
    rows += [[f["id"], "failed", f["message"][:80].replace("|", "/"), *[""] * 6] for f in result["failed"]]
    head = [
        "patient",
        "targets met",
        "with air",
        "organs met",
        "least ΔD95, ΔD99, Gy",
        "mean of organs' means, Gy",
        "deliverable − fluence, %",
        "MU",
        "s / CPU s",
    ]
    totals = result["totals"]
    return rows_of(head, rows) + (
        f"\nOurs / shipped dose. Targets {totals['targets_met']} / {totals['targets_met_reference']} of "
        f"{totals['targets_judged']}, organs {totals['oars_met']} / {totals['oars_met_reference']} of "
        f"{totals['oars_judged']}. Comparable coverage (no * ) in {result['patients_comparable']} patients; there "
        f"{result['organ_means_not_higher']} of {result['organ_means_compared']} organ means are not higher than the "
        f"reference's.\n"
    )


def tg119(result: dict[str, Any]) -> str:
    """Return the table of TG-119."""
    rows = [
        [
            case["title"] if first else "",
            goal["goal"],
            f"{goal['value']:.1f}",
            "yes" if goal["met"] else "no",
            f"{case['mu']:.0f} MU, {case['cpu_seconds']:.0f} CPU s" if first else "",
        ]
        for case in result["cases"]
        for first, goal in ((number == 0, goal) for number, goal in enumerate(case["goals"]))
    ]
    head = ["case", "goal", "deliverable, Gy", "met", "per fraction; planning"]
    return rows_of(head, rows) + f"\n{result['goals_met']} of {result['goals_judged']} goals met.\n"
