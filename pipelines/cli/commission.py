"""``igrt commission``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.table import Table

from imrt_core.commission import Commissioned, commission_machine
from imrt_core.commission.plots import write_plots
from imrt_core.machine.scans import read_scans

from .output import Answer, ForceOption, JsonOption, Part, answering, console, refuse_existing
from .progress import stages_shown


class ResidualFigures(Part):
    """Largest absolute differences between the fitted model and the measurements; null where nothing was measured."""

    pdd_percent: float | None = Field(description="Depth dose or TPR beyond 15 mm, percent of the local value.")
    profile_percent: float | None = Field(description="Within 80 % of the field width, percent of the axis.")
    output_factor_percent: float | None = Field(description="Fields of 10 mm and more, percent of the local value.")
    penumbra_mm: float | None = Field(description="20 % to 80 % distance.")
    buildup_percent: float | None = Field(description="Depth dose or TPR up to 15 mm, percent of the local value.")


class CommissionAnswer(Answer):
    """What ``igrt commission`` prints."""

    out: Path
    plots: list[Path]
    name: str
    energy_mv: float
    residuals: ResidualFigures
    notes: list[str]
    seconds: float

    def as_text(self) -> RenderableType:
        """Return the residuals as a table."""
        table = Table(
            title=f"{self.name}, {self.energy_mv:g} MV: largest differences from the measurements",
            caption=f"machine file {self.out}, plots {', '.join(p.name for p in self.plots)}; {self.seconds:.0f} s",
        )
        for column in ("quantity", "largest difference"):
            table.add_column(column, justify="left" if column == "quantity" else "right")
        r = self.residuals
        for label, value, unit in (
            ("depth dose, TPR beyond 15 mm", r.pdd_percent, "%"),
            ("build-up", r.buildup_percent, "%"),
            ("output factors", r.output_factor_percent, "%"),
            ("profiles inside the field", r.profile_percent, "%"),
            ("penumbra", r.penumbra_mm, "mm"),
        ):
            table.add_row(label, "not measured" if value is None else f"{value:.2f} {unit}")
        return table


def commission(
    scans: Annotated[Path, typer.Argument(help="Folder of PTW .mcc, W2CAD .asc, tables, or tpr.dat and its sisters.")],
    out: Annotated[Path, typer.Option("--out", help="Machine file (TOML) to write; plots (.svg) go beside it.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of machine and model; default: of the file.")] = None,
    energy_mv: Annotated[
        float | None, typer.Option("--energy-mv", help="Nominal energy, where the files do not state it.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> CommissionAnswer:
    """Fit a beam model to water-tank scans."""
    started = time.perf_counter()
    refuse_existing(out, force=force)
    out.parent.mkdir(parents=True, exist_ok=True)
    measured = read_scans(scans, energy_mv=energy_mv)
    for line in measured.warnings:
        console.print(f"[yellow]warning[/]: {line}")
    with stages_shown("commission") as tell:
        done = commission_machine(measured, out, name=name or out.stem, progress=tell)
    plots = write_plots(done, out)
    for line in done.notes:
        console.print(f"[yellow]note[/]: {line}")
    return _answer(done, out, plots, time.perf_counter() - started)


def _answer(done: Commissioned, out: Path, plots: list[Path], seconds: float) -> CommissionAnswer:
    left = done.model.residuals
    return CommissionAnswer(
        out=out.resolve(),
        plots=[p.resolve() for p in plots],
        name=done.model.name,
        energy_mv=done.model.nominal_energy_mv,
        residuals=ResidualFigures(
            pdd_percent=left.pdd_percent,
            profile_percent=left.profile_percent,
            output_factor_percent=left.output_factor_percent,
            penumbra_mm=left.penumbra_mm,
            buildup_percent=left.buildup_percent,
        ),
        notes=list(done.notes),
        seconds=seconds,
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("commission")(answering(commission))
