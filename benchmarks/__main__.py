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
    """One module and its arguments; ``{data}`` stands for the folder of real data."""

    name: str
    arguments: tuple[str, ...]


BENCHMARKS = (
    Benchmark("eclipse_ent", ()),
    Benchmark("daily", ("{data}/openkbp",)),
    Benchmark("influence", ("--grid-mm", "5", "3")),
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
        result = RESULTS / f"{benchmark.name}.json"
        arguments = [argument.format(data=data) for argument in benchmark.arguments]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{benchmark.name}", *arguments, "--save", str(result)],
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
