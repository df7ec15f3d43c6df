"""Our registration in a process of its own, kernels compiled beforehand: called by :mod:`benchmarks.registration`.

``python -m benchmarks.registration_run FOLDER rigid|deformable``: FOLDER as for the peers; ``field.mha``, for a
deformable match ``backward.mha``, and ``figures.json`` are written there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from imrt_core.patient import DisplacementField
from registration import register_deformable, register_rigid
from registration.itk import read_transform, read_volume, write_field, write_transform
from registration.precompile import compile_kernels


def main() -> None:
    """Run one match."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registration_run", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("mode", choices=["rigid", "deformable"])
    options = parser.parse_args()
    folder: Path = options.folder
    fixed, moving = (read_volume(folder / f"{name}.mha") for name in ("fixed", "moving"))
    began = time.perf_counter()
    compile_kernels()
    compiled, cpu = time.perf_counter(), time.process_time()
    figures: dict[str, object] = {"compile_seconds": compiled - began}
    if options.mode == "rigid":
        rigid = register_rigid(fixed, moving)
        figures |= {"seconds": rigid.seconds, "cpu_seconds": time.process_time() - cpu}
        figures |= {"passed": rigid.quality.passed, "quality": asdict(rigid.quality)}
        write_transform(rigid.moving_from_fixed, folder / "found.tfm", centre_lps=rigid.centre_lps)
        write_field(DisplacementField.from_rigid(rigid.moving_from_fixed, fixed.grid), folder / "field.mha")
    else:
        match = register_deformable(fixed, moving, initial=read_transform(folder / "start.tfm"))
        figures |= {"seconds": match.seconds, "cpu_seconds": time.process_time() - cpu}
        figures |= {"passed": match.quality.passed, "quality": asdict(match.quality)}
        write_field(match.moving_from_fixed, folder / "field.mha")
        write_field(match.fixed_from_moving, folder / "backward.mha")
    (folder / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
