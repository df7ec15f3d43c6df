"""Fill the tables of docs/validation.md between its markers from benchmarks/results/*.json.

``<!-- table: NAME -->`` … ``<!-- end -->`` holds the table of ``benchmarks/results/NAME.json``; figures are never typed
by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "validation.md"
_BLOCK = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _daily(result: dict[str, Any]) -> str:
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
        _rows(head, rows)
        + f"\n{inside} {limits['shift_mm']} mm and {limits['rotation_deg']}°; "
        + (f"median fraction {median:.0f} s (limit {limits['median_seconds']:.0f} s).\n" if median else "no figures.\n")
    )


def _conformal(result: dict[str, Any]) -> str:
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
    return _rows(head, rows)


def _breast(result: dict[str, Any]) -> str:
    rows = [
        [
            s["structure"],
            f"{s['volume_cc']:.1f}",
            f"{s['mean_gy']:.2f} / {s['tps_mean_gy']:.2f}",
            f"{s['difference_percent']:+.1f}",
            f"{s['d95_gy']:.2f} / {s['tps_d95_gy']:.2f}",
        ]
        for s in result["structures"]
    ]
    head = ["structure", "volume (cc)", "mean (Gy): ours / TPS", "difference (%)", "D95 % (Gy): ours / TPS"]
    lines = [
        f"Gamma 3 %/3 mm of the plan sum over {result['gamma_points']} points above 10 %: "
        f"{_gammas(result, result['target'])}.",
        f"Highest dose {result['max_gy']:.2f} Gy, in the RTDOSE {result['tps_max_gy']:.2f} Gy.",
    ]
    if result["with_declared_leaves"]:
        lines.append(
            f"With the ends and tongues declared for {result['collimator']}: "
            f"{_gammas(result['with_declared_leaves'], result['target'])}."
        )
    given = ", ".join(f"{name} {density:g}" for name, density in result["densities"].items())
    lines += [f"Relative electron densities: {given}; air outside. Missing:\n"]
    return _rows(head, rows) + "\n" + "\n".join(lines) + "\n" + "".join(f"- {text}\n" for text in result["missing"])


def _gammas(figures: dict[str, float], target: str) -> str:
    return (
        f"{figures['gamma_3_3_percent']:.1f} % (mean of {target} {figures['target_mean_percent']:+.1f} %; scaled to "
        f"theirs {figures['gamma_3_3_percent_scaled']:.1f} %)"
    )


def _eclipse_ent(result: dict[str, Any]) -> str:
    rows = []
    for s in result["structures"]:
        ours, eclipse, cerr = s["ours"], s["eclipse"], s["cerr"]
        verdict = ("agrees" if not s["disagreements"] else ", ".join(s["disagreements"])) if s["judged"] else "< 2 cc"
        pairs = [f"{ours[k]:.2f} / {_or(eclipse, k)} / {_or(cerr, k)}" for k in ("volume_cc", "mean_gy", "d95_gy")]
        rows.append([s["structure"], *pairs, verdict])
    head = ["structure", "volume, cc: ours / Eclipse / CERR", "mean, Gy", "D95 %, Gy", "against Eclipse"]
    return _rows(head, rows) + f"\n{result['agree']} of {result['judged']} structures of 2 cc and more agree fully.\n"


def _or(values: dict[str, float] | None, key: str) -> str:
    return "–" if not values or values.get(key) is None else f"{values[key]:.2f}"


def _influence(result: dict[str, Any]) -> str:
    rows = []
    for a in result["grids"]:
        ours, peer, products = a["ours"], a["peer"], a["ours"]["products"]
        rows.append(
            [
                f"{a['grid_mm']:g}",
                f"{ours['nnz'] / 1e6:.1f} / {peer['nnz'] / 1e6:.1f}",
                f"{ours['seconds']:.2f} / {peer['seconds']:.1f} (1/{1 / a['ratio']:.0f})",
                f"{ours['cpu_seconds']:.2f} / {peer['cpu_seconds']:.1f} (1/{1 / a['cpu_ratio']:.0f})",
                f"{ours['mib']:.0f} / {peer['mib']:.0f}",
                f"{ours['peak_rss_mib']:.0f} / {peer['peak_rss_mib']:.0f}",
                f"{ours['compile_seconds']:.0f}",
                f"{a['dose_difference']['mean']:.1f} / {a['dose_difference']['max']:.1f}",
                f"{100 * products['dose_of_bandwidth']:.0f} / {100 * products['backproject_of_bandwidth']:.0f}",
            ]
        )
    head = [
        "grid, mm",
        "entries, 10⁶: ours / peer",
        "seconds",
        "CPU seconds",
        "matrix, MiB",
        "peak of process, MiB",
        "compilation, s",
        "dose Δ mean / max, %",
        "A·w / Aᵀ·g, % of bandwidth",
    ]
    bandwidth = result["ours"]["products"]["bandwidth_gb_s"]
    storage, threads = result["ours"]["storage"], result["ours"]["threads"]
    return _rows(head, rows) + f"\nStorage `{storage}`, {threads} threads; memory read at {bandwidth:.1f} GB/s.\n"


def _fluence(result: dict[str, Any]) -> str:
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
    return _rows(head, rows) + (
        f"\n{ratios} Ours: {ours['threads']} threads, compilation {ours['compile_seconds']:.0f} s apart, KKT residual "
        f"at the end {ours['kkt_residual']:.0e}. The peer's objective is reproduced from its weights within "
        f"{result['objective_reproduced_within']:.0e}. Load average before and after our run: "
        f"{' and '.join(f'{load:g}' for load in result['load_average'])}.\n"
    )


def _monte_carlo(result: dict[str, Any]) -> str:
    rows = [
        [
            name.removeprefix("dev_").replace("_", " "),
            engine.replace("_", " "),
            f"{c['max_percent_beyond_buildup']:.2f}",
            f"{c['max_percent_eight_sides']:.2f}",
            f"{c['mean_percent']:+.2f}",
            f"{c['max_percent_at_interfaces']:.2f}",
            f"{c['penumbra_mm']:.2f}",
            f"{c['gamma_2_2_percent']:.1f}",
            f"{c['gamma_2_2_percent_single_voxels']:.1f}",
            f"{c['gamma_2_2_percent_noise_alone']:.1f}",
        ]
        for name, answer in result.items()
        for engine, c in answer.items()
        if isinstance(c, dict)
    ]
    head = [
        "file",
        "engine",
        "largest beyond 1.5 cm (%)",
        "against the mean of eight sides (%)",
        "mean (%)",
        "at interfaces (%)",
        "penumbra (mm)",
        "gamma 2 %/2 mm (%)",
        "against single voxels",
        "noise alone",
    ]
    return _rows(head, rows)


def _pyradmc(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{b['gamma_2_2_percent']:.1f}",
            f"{b['second_run_gamma_2_2_percent']:.1f}",
            str(b["voxels"]),
            f"{b['mean_difference_percent']:+.2f} ± {b['standard_deviation_percent']:.2f}",
        ]
        for name, b in result["beams"].items()
    ]
    return _rows(
        [
            "beam",
            "gamma 2 %/2 mm (%)",
            "second run of Monte Carlo (%)",
            "voxels",
            "difference, mean ± s.d. (% of maximum)",
        ],
        rows,
    )


def _monaco(result: dict[str, Any]) -> str:
    rows = [
        [
            f"{f['side_mm']:g}",
            "fitted" if f["fitted"] else "predicted",
            f"{f['plan_gy']:.3f}",
            f"{f['ours_gy']:.3f}",
            f"{f['percent']:+.2f}",
        ]
        for f in result["fields"]
    ]
    return _rows(["field (mm)", "", "BeamDose (Gy)", "ours (Gy)", "difference (%)"], rows)


def _plans(result: dict[str, Any]) -> str:
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
    return _rows(head, rows) + (
        f"\nOurs / shipped dose. Targets {totals['targets_met']} / {totals['targets_met_reference']} of "
        f"{totals['targets_judged']}, organs {totals['oars_met']} / {totals['oars_met_reference']} of "
        f"{totals['oars_judged']}. Comparable coverage (no * ) in {result['patients_comparable']} patients; there "
        f"{result['organ_means_not_higher']} of {result['organ_means_compared']} organ means are not higher than the "
        f"reference's.\n"
    )


def _tg119(result: dict[str, Any]) -> str:
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
    return _rows(head, rows) + f"\n{result['goals_met']} of {result['goals_judged']} goals met.\n"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "breast": _breast,
    "conformal": _conformal,
    "daily": _daily,
    "eclipse_ent": _eclipse_ent,
    "fluence": _fluence,
    "influence": _influence,
    "monaco": _monaco,
    "monte_carlo": _monte_carlo,
    "plans": _plans,
    "pyradmc": _pyradmc,
    "tg119": _tg119,
}


def filled(page: str) -> str:
    """Return the page with every table that has results."""

    def table(match: re.Match[str]) -> str:
        file = ROOT / "benchmarks" / "results" / f"{match['name']}.json"
        if not file.exists():
            return match[0]
        return f"{match[1]}{TABLES[match['name']](json.loads(file.read_text()))}{match[3]}"

    return _BLOCK.sub(table, page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    sys.stdout.write(f"filled {PAGE.relative_to(ROOT)}\n")
