"""``make bench``: every benchmark in turn, results into ``benchmarks/results/*.json`` and a table of outcomes.

``python -m benchmarks [NAME …]`` runs the named ones. Real data are found through ``IGRT_SHARED_DATA``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Benchmark:
    """One run of a module; ``{data}`` stands for the folder of real data.

    Runs of one module share its result file unless they name their own.
    """

    name: str
    arguments: tuple[str, ...]
    module: str = ""
    result: str = ""


BENCHMARKS = (
    Benchmark("eclipse_ent", ()),
    Benchmark("daily", ("{data}/openkbp",)),
    Benchmark(
        "conformal", tuple(f"{{data}}/openkbp/{name}.npz" for name in ("train_pt_37", "train_pt_40", "test_pt_254"))
    ),
    Benchmark("plans", ("{data}/openkbp",)),
    Benchmark("registration_2d3d", ()),
    Benchmark("breathing", ()),
    Benchmark("density", ()),
    Benchmark("propagation", ()),
    Benchmark("deformable_uncertainty", ()),
    Benchmark("tg119", ()),
    *(
        Benchmark(
            f"monte_carlo_{name}",
            (f"{{data}}/monte_carlo/dev_{name}.npz", "--field-cm", field_cm),
            module="monte_carlo",
        )
        for name, field_cm in (("water_10x10", "10"), ("water_3x3", "3"), ("lungslab_10x10", "10"))
    ),
    Benchmark("pyradmc", ("{data}/openkbp/train_pt_37.npz", "--histories", "1.5e8")),
    Benchmark("monaco", ("{data}/beam_pymedphys",)),
    Benchmark("breast", ("{data}/dicom_breast_imrt", "--plot", "docs/breast.svg")),
    Benchmark("forward", ("{data}/tg119_matrad/tg119.npz",)),
    Benchmark("influence", ("--grid-mm", "5", "3")),
    Benchmark("fluence", ("--plot", "docs/fluence.svg")),
    *(
        Benchmark(f"registration_{name}", arguments, module="registration", result=f"registration_{name}")
        for name, arguments in (
            ("rigid", ("--synthetic", "rigid")),
            ("deformable", ("--synthetic", "deformable")),
            ("cbct_head_neck", ("--synthetic", "head-neck")),
            ("cbct_pelvis", ("--synthetic", "pelvis")),
            ("lung_4dct", tuple(f"{{data}}/pair_lung_4dct_plastimatch/{image}.mha" for image in ("t0", "t5"))),
        )
    ),
    Benchmark("registration_cohort", ("{data}/openkbp",)),
    Benchmark("influence_growth", ("--data", "{data}", "--plot", "docs/influence_growth.svg")),
)


def main() -> None:
    """Run the benchmarks; exits 0 when all ran to the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *(b.name for b in BENCHMARKS)])
    wanted = parser.parse_args().names
    data = Path(os.environ.get("IGRT_SHARED_DATA", ROOT / ".." / "shared" / "data")).resolve()
    table = Table("benchmark", "exit", "seconds", "result")
    failed = False
    for benchmark in BENCHMARKS:
        if wanted and benchmark.name not in wanted:
            continue
        module = benchmark.module or benchmark.name
        result = RESULTS / f"{benchmark.result or module}.json"
        arguments = [argument.format(data=data) for argument in benchmark.arguments]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--save", str(result)],
            cwd=ROOT,
            check=False,
        )
        failed |= done.returncode != 0
        seconds = f"{time.perf_counter() - started:.0f}"
        table.add_row(benchmark.name, str(done.returncode), seconds, str(result.relative_to(ROOT)))
    Console().print(table)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
