"""The Monaco plan of ten square fields: ``python -m benchmarks.monaco FOLDER [--json] [--save FILE] [--machine OUT]``.

A beam model is fitted to the scans of FOLDER and, for head scatter, to the BeamDose of three of the plan's fields; the
collapsed cone then computes all ten as the RTPLAN describes them. The other seven are a prediction.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from rich.console import Console
from rich.table import Table

from imrt_core.commission import commission_machine
from imrt_core.commission.measured import FieldFactors
from imrt_core.dose import plan_dose
from imrt_core.machine import DECLARED_LEAVES, load_machine, write_machine
from imrt_core.machine.collimators import named
from imrt_core.machine.scans import read_scans
from imrt_core.patient import Beam, ControlPoint, Grid, Plan, Volume

#: Fields whose BeamDose the fit may use, mm.
FITTED_MM = (20.0, 100.0, 400.0)
DEPTH_MM, SSD_MM = 100.0, 900.0
LIMIT_PERCENT = 1.5


@dataclass(frozen=True)
class FieldResult:
    """One field: BeamDose in the plan, and ours."""

    side_mm: float
    fitted: bool
    plan_gy: float
    ours_gy: float
    percent: float


def plan_fields(path: Path) -> list[tuple[float, float, float]]:
    """Return side in mm, MU and BeamDose in Gy of every field; the file has no preamble."""
    plan = pydicom.dcmread(path, force=True)
    given = {int(b.ReferencedBeamNumber): b for b in plan.FractionGroupSequence[0].ReferencedBeamSequence}
    fields = []
    for beam in plan.BeamSequence:
        devices = beam.ControlPointSequence[0].BeamLimitingDevicePositionSequence
        sides = [
            float(d.LeafJawPositions[1]) - float(d.LeafJawPositions[0])
            for d in devices
            if not str(d.RTBeamLimitingDeviceType).startswith("MLC")
        ]
        leaves = [d for d in devices if str(d.RTBeamLimitingDeviceType).startswith("MLC")]
        for device in leaves:
            half = len(device.LeafJawPositions) // 2
            gaps = np.array(device.LeafJawPositions[half:], float) - np.array(device.LeafJawPositions[:half], float)
            sides.append(float(gaps.max()))
        reference = given[int(beam.BeamNumber)]
        fields.append((min(sides), float(reference.BeamMeterset), float(reference.BeamDose)))
    return sorted(fields)


def water_dose(machine_file: Path, side_mm: float, mu: float) -> float:
    """Return the dose at 100 mm depth, SSD 900 mm, for a square of jaws."""
    machine = load_machine(machine_file)
    size = 100
    grid = Grid((size, size, size), (5.0, 5.0, 5.0), (-247.5, -97.5, -247.5))
    state = {"isocentre_lps": (0.0, 0.0, 0.0), "jaw_x_mm": (-side_mm / 2, side_mm / 2)}
    points = tuple(
        ControlPoint(w, 0.0, jaw_y_mm=(-side_mm / 2, side_mm / 2), **state)  # type: ignore[arg-type]
        for w in (0.0, 1.0)
    )
    place = Grid((1, 1, 1), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    dose = plan_dose(
        Plan((Beam(1, "field", mu, points, nominal_energy_mv=machine.model.nominal_energy_mv),)),
        Volume(np.ones(grid.shape, dtype=np.float32), grid),
        machine,
        dose_grid=place,
        patient_position="HFS",
    )
    return dose.beams[0].dose_at_isocentre_gy


def run(folder: Path, machine_file: Path) -> list[FieldResult]:
    """Fit, then compute every field."""
    fields = plan_fields(folder / "06MV_plan.dcm")
    per_mu = {side: dose / mu for side, mu, dose in fields}
    known = [side for side in per_mu if side in FITTED_MM]
    factors = FieldFactors(
        tuple((s, s) for s in known),
        np.array([per_mu[s] / per_mu[100.0] for s in known]),
        known.index(100.0),
        DEPTH_MM,
        SSD_MM,
    )
    commission_machine(
        read_scans(folder),
        machine_file,
        name="monaco_6mv_2619",
        factors=[factors],
        description="6 MV beam of the Monaco machine 2619 of pymedphys, fitted. Research software, no medical device.",
    )
    # The machine of the scans is an Elekta with 160 leaves.
    machine = load_machine(machine_file)
    write_machine(replace(machine, mlc=named("agility-160").mlc(), leaves=DECLARED_LEAVES["agility-160"]), machine_file)
    results = []
    for side, mu, dose in fields:
        ours = water_dose(machine_file, side, mu)
        results.append(FieldResult(side, side in FITTED_MM, dose, ours, 100 * (ours / dose - 1)))
    return results


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.monaco", description="The Monaco plan of ten square fields."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--machine", type=Path, help="Where the fitted machine file goes.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = run(options.folder, options.machine or Path(temporary) / "monaco_6mv_2619.toml")
    predicted = max(abs(r.percent) for r in results if not r.fitted)
    answer = {"fields": [asdict(r) for r in results], "largest_predicted_percent": predicted}
    if options.save:
        options.save.write_text(json.dumps(answer, indent=1) + "\n", "utf-8")
    if options.json:
        print(json.dumps(answer))
        return
    table = Table(title=f"Monaco plan: largest difference of the predicted fields {predicted:.2f} %")
    for column in ("field mm", "", "BeamDose Gy", "ours Gy", "difference %"):
        table.add_column(column, justify="right")
    for r in results:
        role = "fitted" if r.fitted else "predicted"
        table.add_row(f"{r.side_mm:g}", role, f"{r.plan_gy:.3f}", f"{r.ours_gy:.3f}", f"{r.percent:+.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
