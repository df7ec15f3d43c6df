"""Tables of docs/validation.md about dose: engines, influence matrix, histograms."""

from __future__ import annotations

from typing import Any

from markdown_rows import rows_of


def breast(result: dict[str, Any]) -> str:
    """Return the table of a breast plan of two energies against its RTDOSE."""
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
    return rows_of(head, rows) + "\n" + "\n".join(lines) + "\n" + "".join(f"- {text}\n" for text in result["missing"])


def _gammas(figures: dict[str, float], target: str) -> str:
    return (
        f"{figures['gamma_3_3_percent']:.1f} % (mean of {target} {figures['target_mean_percent']:+.1f} %; scaled to "
        f"theirs {figures['gamma_3_3_percent_scaled']:.1f} %)"
    )


def eclipse_ent(result: dict[str, Any]) -> str:
    """Return the table of histograms of a head-and-neck case against Eclipse and CERR."""
    rows = []
    for s in result["structures"]:
        ours, eclipse, cerr = s["ours"], s["eclipse"], s["cerr"]
        verdict = ("agrees" if not s["disagreements"] else ", ".join(s["disagreements"])) if s["judged"] else "< 2 cc"
        pairs = [f"{ours[k]:.2f} / {_or(eclipse, k)} / {_or(cerr, k)}" for k in ("volume_cc", "mean_gy", "d95_gy")]
        rows.append([s["structure"], *pairs, verdict])
    head = ["structure", "volume, cc: ours / Eclipse / CERR", "mean, Gy", "D95 %, Gy", "against Eclipse"]
    return rows_of(head, rows) + f"\n{result['agree']} of {result['judged']} structures of 2 cc and more agree fully.\n"


def _or(values: dict[str, float] | None, key: str) -> str:
    return "–" if not values or values.get(key) is None else f"{values[key]:.2f}"


def influence(result: dict[str, Any]) -> str:
    """Return the table of the influence matrix against pyRadPlan."""
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
    return rows_of(head, rows) + f"\nStorage `{storage}`, {threads} threads; memory read at {bandwidth:.1f} GB/s.\n"


def monte_carlo(result: dict[str, Any]) -> str:
    """Return the table of both dose engines against Monte Carlo."""
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
    return rows_of(head, rows)


def pyradmc(result: dict[str, Any]) -> str:
    """Return the table of the collapsed cone against pyradmc on a patient."""
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
    return rows_of(
        [
            "beam",
            "gamma 2 %/2 mm (%)",
            "second run of Monte Carlo (%)",
            "voxels",
            "difference, mean ± s.d. (% of maximum)",
        ],
        rows,
    )


def monaco(result: dict[str, Any]) -> str:
    """Return the table of a Monaco plan of ten fields."""
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
    return rows_of(["field (mm)", "", "BeamDose (Gy)", "ours (Gy)", "difference (%)"], rows)
