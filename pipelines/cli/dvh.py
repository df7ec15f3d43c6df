"""``igrt dvh``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.table import Table

from imrt_core.dicom import read_dose, read_structures
from imrt_core.evaluate import DVH, dvh
from imrt_core.patient import (
    IdentityError,
    Metric,
    StructureError,
)

from ..images import load_image
from .output import Answer, JsonOption, Part, answering, console


class StructureFigures(Part):
    """One structure of ``igrt dvh``."""

    volume_cc: float
    outside_dose_grid_cc: float
    mean_gy: float
    max_gy: float
    min_gy: float
    D98_gy: float
    D95_gy: float
    D50_gy: float
    D2_gy: float
    metrics: dict[str, float]


class DvhAnswer(Answer):
    """What ``igrt dvh`` prints."""

    dose_scale: str = Field(description="Dose Summation Type of the RTDOSE; PLAN is the whole course.")
    structures: dict[str, StructureFigures]
    skipped: dict[str, str] = Field(description="Structures without figures, and why.")

    def as_text(self) -> RenderableType:
        """Return one row per structure."""
        table = Table(title=f"DVH, dose scale {self.dose_scale}, Gy")
        extra = list(next(iter(self.structures.values())).metrics) if self.structures else []
        for column in ("structure", "cc", "mean", "max", "min", "D98%", "D95%", "D50%", "D2%", *extra):
            table.add_column(column, justify="left" if column == "structure" else "right")
        for name, s in self.structures.items():
            figures = (s.mean_gy, s.max_gy, s.min_gy, s.D98_gy, s.D95_gy, s.D50_gy, s.D2_gy, *s.metrics.values())
            table.add_row(name, f"{s.volume_cc:.2f}", *(f"{v:.2f}" for v in figures))
        for name, reason in self.skipped.items():
            table.add_row(name, reason, style="yellow")
        return table


def dvh_command(
    structures: Annotated[Path, typer.Option("--structures", help="RTSTRUCT.")],
    dose: Annotated[Path, typer.Option("--dose", help="RTDOSE.")],
    ct: Annotated[Path | None, typer.Option("--ct", help="CT, to check that all share one frame.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="e.g. D95%[Gy], V20Gy[%], D0.03cc[Gy].")] = None,
    prescription_gy: Annotated[float | None, typer.Option("--prescription-gy", help="100 % for metrics in %.")] = None,
    as_json: JsonOption = False,
) -> DvhAnswer:
    """Dose-volume histograms and metrics of every structure, absolute volumes."""
    drawn, given = read_structures(structures), read_dose(dose)
    frames = {"RTSTRUCT": drawn.frame_of_reference_uid, "RTDOSE": given.frame_of_reference_uid}
    if ct is not None and (image := load_image(ct).image) is not None:
        frames["CT"] = image.frame_of_reference_uid
    stated = {name: uid for name, uid in frames.items() if uid}
    if len(set(stated.values())) > 1:
        raise IdentityError(
            "the objects are in different frames of reference",
            found=", ".join(f"{name} {uid}" for name, uid in stated.items()),
            expected="one frame",
            code="frame-mismatch",
        )
    wanted = [_metric(text) for text in metric or []]
    figures: dict[str, StructureFigures] = {}
    skipped: dict[str, str] = {}
    for structure in drawn:
        if structure.is_empty:
            skipped[structure.name] = "no contours"
            continue
        try:
            result = dvh(structure, given.dose_gy, prescription_gy=prescription_gy)
        except StructureError as error:
            skipped[structure.name] = str(error)
            continue
        figures[structure.name] = _figures(result, wanted)
    if not figures:
        raise StructureError(
            "no structure has a DVH",
            found="; ".join(f"{n}: {r}" for n, r in skipped.items()) or "no structures",
            expected="contours inside the dose grid",
            where=str(structures),
        )
    for name, reason in skipped.items():
        console.print(f"[yellow]warning[/]: {name}: {reason}")
    return DvhAnswer(dose_scale=given.summation_type, structures=figures, skipped=skipped)


def _metric(text: str) -> Metric:
    """Read a metric; ``D95%`` alone means Gy, ``V20Gy`` alone means percent of the structure."""
    if "[" not in text:
        text += "[%]" if text.startswith("V") and text != "Volume" else "[cc]" if text == "Volume" else "[Gy]"
    return Metric.parse(text)


def _figures(result: DVH, wanted: list[Metric]) -> StructureFigures:
    return StructureFigures(
        volume_cc=result.volume_cc,
        outside_dose_grid_cc=result.outside_cc,
        mean_gy=result.mean_gy,
        max_gy=result.max_gy,
        min_gy=result.min_gy,
        D98_gy=result.metric("D98%[Gy]"),
        D95_gy=result.metric("D95%[Gy]"),
        D50_gy=result.metric("D50%[Gy]"),
        D2_gy=result.metric("D2%[Gy]"),
        metrics={str(m): result.metric(m) for m in wanted},
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dvh")(answering(dvh_command))
