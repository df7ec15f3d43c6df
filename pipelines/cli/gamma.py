"""``igrt gamma``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from imrt_core.evaluate import gamma

from ..images import load_scalar
from .output import Answer, JsonOption, answering, console


class GammaAnswer(Answer):
    """What ``igrt gamma`` prints."""

    pass_percent: float
    mean: float
    points: int
    seconds: float


def gamma_command(
    reference: Annotated[Path, typer.Argument(help="RTDOSE, .mha, .nii, .nii.gz or .nrrd in Gy.")],
    evaluated: Annotated[Path, typer.Argument(help="The same, on any grid of the same frame.")],
    dose_percent: Annotated[float, typer.Option("--dose-percent", min=0.1)] = 3.0,
    distance_mm: Annotated[float, typer.Option("--distance-mm", min=0.1)] = 2.0,
    cutoff_percent: Annotated[float, typer.Option("--cutoff-percent", min=0.0, max=100.0)] = 10.0,
    local: Annotated[bool, typer.Option("--local", help="Local instead of global dose criterion.")] = False,
    as_json: JsonOption = False,
) -> GammaAnswer:
    """Compare two doses by the three-dimensional gamma index."""
    started = time.perf_counter()
    first, second = load_scalar(reference).volume, load_scalar(evaluated).volume
    with console.status("gamma"):
        result = gamma(
            first,
            second,
            dose_percent=dose_percent,
            distance_mm=distance_mm,
            cutoff_percent=cutoff_percent,
            local=local,
        )
    return GammaAnswer(
        pass_percent=result.pass_percent,
        mean=result.mean,
        points=result.points,
        seconds=time.perf_counter() - started,
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gamma")(answering(gamma_command))
