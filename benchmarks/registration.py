"""Our registration beside SimpleITK, elastix and plastimatch, on any pair of images or a synthetic one.

``python -m benchmarks.registration FIXED MOVING [--truth FIELD] [--mask MASK] [--landmarks F.csv M.csv]
[--mode rigid|deformable] [--json] [--save FILE]``, or ``--synthetic rigid|deformable`` for a 256×256×128 CT-like pair
(1.5×1.5×2.5 mm, 20 HU of noise) with known truth, or ``--synthetic head-neck|pelvis|lung`` for a digital patient's
planning CT and the simulated cone-beam CT of the last fraction.

FIXED and MOVING are DICOM folders, ``.mha``, ``.nii``, ``.nii.gz`` or ``.nrrd``. The truth is a displacement field on
the fixed grid (fixed → moving, LPS mm) or a rigid ``.tfm``. Errors are taken inside the mask, by default the body found
by threshold; landmarks outside a given mask are left out. Without truth the landmarks' errors stand in ``mean_mm`` …;
without either they are null. ``folded_percent`` and the inverse consistency are always given.

Every tool runs in a process of its own with two threads and from the same start: of a deformable match our rigid match
(``start_seconds``, not part of anybody's ``seconds``), of a rigid match nothing, or the images' centres on each other
where they lie apart. ``--start identity`` leaves out the rigid match. A tool that cannot be run is null, with the
reason in ``not_run``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.registration_data import Pair, read_pair, simulated_pair, start_of, synthetic_pair
from benchmarks.registration_errors import field_errors, folded_percent, inverse_errors, landmark_errors
from benchmarks.registration_tools import TOOLS, Found, NotRunError
from imrt_core.patient import DisplacementField, InputRefusedError, RigidTransform, Volume
from imrt_core.phantom import SITES
from registration import register_rigid
from registration.itk import write_transform, write_volume
from registration.precompile import compile_kernels
from registration.preprocess import body_mask, field_of_view

THREADS = 2


def run(
    pair: Pair,
    mode: str,
    *,
    tools: tuple[str, ...] | None = None,
    start: str = "auto",
    kept: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Run all tools on a pair and return the answer.

    Parameters
    ----------
    pair : Pair
        Images and what is known of them.
    mode : str
        ``"rigid"`` or ``"deformable"``.
    tools : tuple of str, optional
        Only these.
    start : str
        ``"auto"`` or ``"identity"``.
    kept : dict, optional
        Figures of tools that are not run again, by name.
    save : callable, optional
        Called with the answer after every tool.
    """
    first, seconds = RigidTransform.identity(), 0.0
    if start == "auto" and mode == "deformable":
        compile_kernels()
        match = register_rigid(pair.fixed, pair.moving)
        first, seconds = match.moving_from_fixed, match.seconds
    elif start == "auto":
        first = start_of(pair)
    answer: dict[str, Any] = {
        "schema_version": 1,
        "mode": mode,
        "pair": list(pair.names),
        "voxels": list(pair.fixed.grid.shape[::-1]),
        "spacing_mm": [round(s, 4) for s in pair.fixed.grid.spacing_mm],
        "threads": THREADS,
        "mask_voxels": int(pair.inside.sum()),
        "start": start,
        "start_seconds": seconds,
        "initial": _figures(pair, DisplacementField.from_rigid(first, pair.fixed.grid)),
        "tools": {},
        "not_run": {},
        "load_average": [round(os.getloadavg()[0], 1)],
    }
    with tempfile.TemporaryDirectory(prefix="igrt-registration-") as name:
        for tool, call in TOOLS[mode].items():
            if tools is not None and tool not in tools:
                continue
            if kept and kept.get(tool):
                answer["tools"][tool] = kept[tool]
                continue
            folder = Path(name) / tool
            folder.mkdir()
            _write_inputs(pair, first, folder)
            try:
                found = call(folder, THREADS)
                answer["tools"][tool] = judged(pair, found, first)
            except NotRunError as error:
                answer["tools"][tool], answer["not_run"][tool] = None, str(error)
            save(answer)
    answer["load_average"].append(round(os.getloadavg()[0], 1))
    return answer


def judged(pair: Pair, found: Found, start: RigidTransform) -> dict[str, Any]:
    """Return a tool's figures with its errors, folds and inverse consistency."""
    if not found.field.grid.matches(pair.fixed.grid):
        raise NotRunError(f"the field has another grid than the fixed image: {found.field.grid.shape}")
    mean, largest = inverse_errors(found.field, found.backward, pair.mask, start)
    return {
        **{key: value for key, value in found.figures.items() if key != "quality"},
        **_figures(pair, found.field),
        "folded_percent": folded_percent(found.field, pair.inside),
        "inverse_mean_mm": mean,
        "inverse_max_mm": largest,
    }


def _kept(path: Path | None, pair: Pair, mode: str) -> dict[str, Any]:
    """Return the peers' figures of an earlier run of the same pair; ours are always taken anew."""
    if path is None or not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    if earlier["pair"] != list(pair.names) or earlier["mode"] != mode:
        return {}
    return {name: figures for name, figures in earlier["tools"].items() if name != "ours"}


def _figures(pair: Pair, field: DisplacementField) -> dict[str, Any]:
    truth = None if pair.truth is None else field_errors(field, pair.truth, pair.inside)
    points = None
    if pair.landmarks is not None:
        points = landmark_errors(field, pair.landmarks, pair.mask if pair.mask_given else None)
    main = truth or points
    figures: dict[str, Any] = {key: getattr(main, key, None) for key in ("mean_mm", "p95_mm", "max_mm")}
    if points is not None:
        figures["landmarks"] = asdict(points)
    return figures


def _write_inputs(pair: Pair, start: RigidTransform, folder: Path) -> None:
    fixed, moving = pair.fixed, pair.moving
    write_volume(_plain(fixed), folder / "fixed.mha")
    write_volume(_plain(moving), folder / "moving.mha")
    turns = max(1, round(5.0 / max(fixed.grid.spacing_mm)))
    body = ndimage.binary_dilation(body_mask(fixed), iterations=turns)
    write_volume(fixed.with_array(body.astype(np.uint8)), folder / "fixed_mask.mha")
    write_volume(moving.with_array(field_of_view(moving).astype(np.uint8)), folder / "moving_mask.mha")
    write_transform(start, folder / "start.tfm")


def _plain(volume: Volume) -> Volume:
    return volume.with_array(np.nan_to_num(volume.array.astype(np.float32), nan=-1000.0))


def _table(answer: dict[str, Any]) -> Table:
    table = Table(title=f"{answer['mode']}: {answer['pair'][0]} / {answer['pair'][1]}, {answer['threads']} threads")
    for column in ("tool", "seconds", "CPU s", "mean mm", "95 % mm", "max mm", "folded %", "inverse mean / max mm"):
        table.add_column(column, justify="right")

    def text(value: float | None, digits: int = 3) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    table.add_row("start", text(answer["start_seconds"], 1), "", *(text(answer["initial"][k]) for k in _KEYS), "", "")
    for name, tool in answer["tools"].items():
        if tool is None:
            table.add_row(name, "not run", answer["not_run"][name][:60], "", "", "", "", "")
            continue
        table.add_row(
            name,
            text(tool["seconds"], 1),
            text(tool["cpu_seconds"], 1),
            *(text(tool[key]) for key in _KEYS),
            text(tool["folded_percent"], 4),
            f"{tool['inverse_mean_mm']:.3f} / {tool['inverse_max_mm']:.2f}",
        )
    return table


_KEYS = ("mean_mm", "p95_mm", "max_mm")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 done, 3 input refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registration", description=__doc__)
    parser.add_argument("images", type=Path, nargs="*", metavar="FIXED MOVING")
    parser.add_argument(
        "--synthetic", choices=["rigid", "deformable", *SITES], help="a generated pair instead of two images"
    )
    parser.add_argument("--truth", type=Path, help="displacement field on the fixed grid, or a rigid .tfm")
    parser.add_argument("--mask", type=Path, help="where errors are taken, in the fixed frame")
    parser.add_argument("--landmarks", type=Path, nargs=2, metavar=("FIXED_CSV", "MOVING_CSV"))
    parser.add_argument("--mode", choices=["rigid", "deformable"])
    parser.add_argument("--start", choices=["auto", "identity"])
    parser.add_argument("--tools", nargs="+", help="only these")
    parser.add_argument("--keep", action="store_true", help="do not run peers again that the file of --save holds")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic pair")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here")
    options = parser.parse_args(arguments)
    if (options.synthetic is None) == (len(options.images) == 0) or len(options.images) not in (0, 2):
        parser.error("give two images, or --synthetic")

    def save(answer: dict[str, Any]) -> None:
        if options.save:
            options.save.parent.mkdir(parents=True, exist_ok=True)
            options.save.write_text(json.dumps(answer, indent=1) + "\n")

    try:
        if options.synthetic in SITES:
            pair = simulated_pair(options.synthetic, seed=options.seed)
            mode, start = options.mode or "deformable", options.start or "auto"
        elif options.synthetic:
            mode = options.synthetic
            pair, start = synthetic_pair(mode, seed=options.seed), options.start or "identity"
        else:
            marks = None if options.landmarks is None else (options.landmarks[0], options.landmarks[1])
            pair = read_pair(*options.images, truth=options.truth, mask=options.mask, landmarks=marks)
            mode = options.mode or ("rigid" if str(options.truth).endswith((".tfm", ".txt")) else "deformable")
            start = options.start or "auto"
        kept = _kept(options.save, pair, mode) if options.keep else None
        answer = run(pair, mode, tools=options.tools and tuple(options.tools), start=start, kept=kept, save=save)
    except InputRefusedError as error:
        Console(stderr=True).print(f"refused: {error}", style="red", highlight=False)
        return 3
    save(answer)
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        Console().print(_table(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
