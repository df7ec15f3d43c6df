"""The tools that are compared, each in a process of its own with a stated number of threads.

A tool reads ``fixed.mha``, ``moving.mha``, ``fixed_mask.mha`` (body and 5 mm about it), ``moving_mask.mha`` (field of
view) and ``start.tfm`` of a folder and leaves its displacement field, start included, on the fixed grid. ``seconds`` is
its own count of the registration, files apart; ``cpu_seconds`` of the same, or for a command of the whole command.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imrt_core.patient import DisplacementField, Grid, RigidTransform
from registration.itk import read_field, read_transform

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "benchmarks" / "peers" / "registration"


@dataclass(frozen=True, eq=False)
class Found:
    """What a tool answers: its field, its own inverse if it has one, and seconds and the like."""

    field: DisplacementField
    backward: DisplacementField | None
    figures: dict[str, Any]


class NotRunError(RuntimeError):
    """A tool that is not installed, or that failed; the message says which."""


def ours(folder: Path, mode: str, threads: int) -> Found:
    """Our match."""
    return _python([sys.executable, "-m", "benchmarks.registration_run", str(folder), mode], folder, threads)


def simpleitk(folder: Path, mode: str, threads: int) -> Found:
    """SimpleITK's registration filters; ``mode`` is the method."""
    script = SETTINGS / "simpleitk_register.py"
    return _python([sys.executable, str(script), str(folder), mode, "--threads", str(threads)], folder, threads)


def elastix(folder: Path, mode: str, threads: int) -> Found:
    """Debian's elastix and transformix commands."""
    program, apply = _program("elastix"), _program("transformix")
    fixed = _grid_of(folder)
    (folder / "start.txt").write_text(elastix_transform(read_transform(folder / "start.tfm"), fixed))
    out = folder / "out"
    out.mkdir()
    command = [program, "-f", "fixed.mha", "-m", "moving.mha", "-fMask", "fixed_mask.mha", "-mMask", "moving_mask.mha"]
    command += [
        "-t0",
        "start.txt",
        "-p",
        str(SETTINGS / f"elastix_{mode}.txt"),
        "-out",
        "out",
        "-threads",
        str(threads),
    ]
    text, wall, cpu = _run(command, folder, threads)
    own = re.search(r"Total time elapsed: ([\d.]+)\s*(ms|s)?", text + _log(out / "elastix.log"))
    _run(
        [apply, "-def", "all", "-tp", "out/TransformParameters.0.txt", "-out", "out", "-threads", str(threads)],
        folder,
        threads,
    )
    seconds = wall
    per_level = re.findall(r"Time spent in resolution \d+ \(ITK initialization and iterating\): ([\d.]+)", text)
    if per_level:
        seconds = sum(float(value) for value in per_level)
    version = _run([program, "--version"], folder, threads)[0].strip().splitlines()[0]
    figures = {"seconds": seconds, "cpu_seconds": cpu, "wall_seconds": wall, "version": version}
    if own:
        figures["stated"] = own[0]
    return Found(_field(_converted(out, "deformationField")), None, figures)


def plastimatch(folder: Path, mode: str, threads: int) -> Found:
    """Debian's plastimatch command."""
    program = _program("plastimatch")
    settings = (SETTINGS / f"plastimatch_{mode}.txt").read_text()
    lines = ["[GLOBAL]", "fixed=fixed.mha", "moving=moving.mha", "xform_in=start.tfm", "vf_out=field.mha"]
    lines += ["fixed_roi=fixed_mask.mha", "moving_roi=moving_mask.mha", "default_value=-1000", ""]
    (folder / "plastimatch.txt").write_text("\n".join(lines) + settings)
    text, wall, cpu = _run([program, "register", "plastimatch.txt"], folder, threads)
    own = re.search(r"^Run:?\s*([\d.]+)", text, re.MULTILINE) or re.search(r"Run time:?\s*([\d.]+)", text)
    version = _run([program, "--version"], folder, threads)[0].strip().splitlines()[0]
    figures = {"seconds": float(own[1]) if own else wall, "cpu_seconds": cpu, "wall_seconds": wall, "version": version}
    return Found(_field(folder / "field.mha"), None, figures)


#: Tool → how it is run, by kind of match.
TOOLS: dict[str, dict[str, Callable[[Path, int], Found]]] = {
    "rigid": {
        "ours": lambda folder, threads: ours(folder, "rigid", threads),
        "simpleitk": lambda folder, threads: simpleitk(folder, "rigid", threads),
        "elastix": lambda folder, threads: elastix(folder, "rigid", threads),
        "plastimatch": lambda folder, threads: plastimatch(folder, "rigid", threads),
    },
    "deformable": {
        "ours": lambda folder, threads: ours(folder, "deformable", threads),
        "simpleitk_demons": lambda folder, threads: simpleitk(folder, "demons", threads),
        "simpleitk_bspline": lambda folder, threads: simpleitk(folder, "bspline", threads),
        "elastix": lambda folder, threads: elastix(folder, "deformable", threads),
        "plastimatch": lambda folder, threads: plastimatch(folder, "deformable", threads),
    },
}


def elastix_transform(start: RigidTransform, fixed: Grid) -> str:
    """Return a rigid transform as an elastix parameter file (R = Rz·Rx·Ry, radians, mm)."""
    angles = [a * 3.141592653589793 / 180 for a in start.rotation_deg()]
    numbers = [*angles, *start.translation_mm(centre_lps=(0.0, 0.0, 0.0))]
    direction = [fixed.direction[row][column] for column in range(3) for row in range(3)]
    entries = {
        "Transform": '"EulerTransform"',
        "NumberOfParameters": "6",
        "TransformParameters": " ".join(f"{v:.12g}" for v in numbers),
        "InitialTransformParametersFileName": '"NoInitialTransform"',
        "HowToCombineTransforms": '"Compose"',
        "FixedImageDimension": "3",
        "MovingImageDimension": "3",
        "Size": " ".join(str(n) for n in fixed.shape[::-1]),
        "Index": "0 0 0",
        "Spacing": " ".join(f"{v:.12g}" for v in fixed.spacing_mm),
        "Origin": " ".join(f"{v:.12g}" for v in fixed.origin_lps),
        "Direction": " ".join(f"{v:.12g}" for v in direction),
        "UseDirectionCosines": '"true"',
        "CenterOfRotationPoint": "0 0 0",
        "ComputeZYX": '"false"',
    }
    return "".join(f"({name} {value})\n" for name, value in entries.items())


def _python(command: list[str], folder: Path, threads: int) -> Found:
    _run(command, folder, threads, cwd=ROOT)
    backward = folder / "backward.mha"
    return Found(
        _field(folder / "field.mha"),
        _field(backward) if backward.exists() else None,
        json.loads((folder / "figures.json").read_text()),
    )


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        package = "elastix" if name == "transformix" else name
        raise NotRunError(f"there is no {name} command here; Debian's package {package} has it")
    return found


def _run(command: list[str], folder: Path, threads: int, *, cwd: Path | None = None) -> tuple[str, float, float]:
    """Run a command; return what it said, and its wall and CPU seconds."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OPENBLAS_NUM_THREADS")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd or folder,
        env={**os.environ, **dict.fromkeys(names, count)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().replace(str(folder), "").replace(str(ROOT), "")
        raise NotRunError(f"{Path(command[0]).name} ended with {done.returncode}: {said[-400:]}")
    return done.stdout + done.stderr, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _field(path: Path) -> DisplacementField:
    if not path.exists():
        raise NotRunError(f"no {path.name} was written")
    return read_field(path)


def _converted(folder: Path, name: str) -> Path:
    """Transformix writes .mhd; our reader takes .mha."""
    import SimpleITK as sitk  # noqa: N813

    for suffix in (".mhd", ".mha", ".nii.gz"):
        if (folder / f"{name}{suffix}").exists() and suffix != ".mha":
            sitk.WriteImage(sitk.ReadImage(str(folder / f"{name}{suffix}")), str(folder / f"{name}.mha"))
    return folder / f"{name}.mha"


def _log(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _grid_of(folder: Path) -> Grid:
    from registration.itk import read_volume

    return read_volume(folder / "fixed.mha").grid
