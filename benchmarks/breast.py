"""The breast IMRT plan of a commercial system, computed by us from its RTPLAN and contours, against its RTDOSE.

``python -m benchmarks.breast [DIR] [--json] [--save FILE] [--plot FILE]``

Data: ``dicom_breast_imrt`` in the folder of real data (``IGRT_SHARED_DATA``): RTSTRUCT, RTPLAN (four dynamic beams of 6
and 10 MV) and RTDOSE (their sum); of the CT one slice. DIR may be any folder with one of each. Densities come from the
contours (:data:`DENSITIES`), beams from the shipped generic machine of their energy, of which that of 10 MV is declared
and compared with no measurement. There is no pass mark: what is missing is listed with the result.

Gamma is global, 3 %/3 mm, above 10 % of the maximum, of the plan sum. It is given with the machines as shipped, whose
leaves are sharp; with the leaf ends and tongues that are declared for the plan's collimator; and each once more with
our dose scaled to their mean over the target, which tells the meaning of an MU from the shape of the dose.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from rich.console import Console
from rich.table import Table

from benchmarks.breast_plot import plot
from imrt_core.dicom import read_dose, read_plan, read_structures
from imrt_core.dose import PlanDose, mixed_plan_dose
from imrt_core.evaluate import dvh, gamma
from imrt_core.machine import DECLARED_LEAVES, LeafModel, load_machine, recognise
from imrt_core.patient import Grid, InputRefusedError, Plan, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure

ROOT = Path(__file__).resolve().parents[1]
SCHEMA_VERSION = 1
MACHINES = ("generic_6mv", "generic_10mv")
#: Electron density relative to water by words in a structure's name; EXTERNAL is water, the rest of the image air.
#: Lung: 0.26 g/cm³, ICRU 44 (inflated, from ICRP 23); heart: 1.06 g/cm³, ICRU 44 (blood-filled).
DENSITIES = (("lung", 0.258), ("heart", 1.05))
AIR = 0.0012
#: Air around EXTERNAL, and voxels of the density, mm.
_BORDER_MM, _VOXEL_MM = 10.0, 2.5
#: Histograms of smaller structures are not drawn, cc.
_DRAWN_CC = 5.0
MISSING = (
    "neither machine is commissioned for this linac: generic_6mv is fitted to another, generic_10mv is declared",
    "MU are those of 1 cGy/MU at the maximum of 10x10 cm, SSD 100 cm; the plan does not say its own",
    "densities are those of contours: EXTERNAL is water, so fat, breast bone, ribs and the right lung are not there",
    "leaf transmission, ends and tongue are declared, not measured on this collimator; figures are with sharp leaves",
    "the RTDOSE is a sum: beams cannot be compared one by one",
)


@dataclass(frozen=True)
class Case:
    """What a planning system exported."""

    plan: Plan
    structures: StructureSet
    course_gy: Volume


@dataclass(frozen=True)
class Agreement:
    """Gamma of the plan sum, as computed and scaled to their mean over the target."""

    gamma_3_3_percent: float
    gamma_points: int
    target_mean_percent: float
    gamma_3_3_percent_scaled: float


@dataclass(frozen=True)
class StructureFigures:
    """Doses of a structure over the course."""

    structure: str
    volume_cc: float
    mean_gy: float
    tps_mean_gy: float
    d95_gy: float
    tps_d95_gy: float
    difference_percent: float


def read_case(folder: Path) -> Case:
    """Read the RTPLAN, RTSTRUCT and RTDOSE of a folder.

    Raises
    ------
    InputRefusedError
        If one of them is missing or there twice, or the dose is not of a whole plan.
    """
    found: dict[str, list[Path]] = {"RTPLAN": [], "RTSTRUCT": [], "RTDOSE": []}
    for path in sorted(folder.glob("*.dcm")):
        modality = str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality"))
        if modality in found:
            found[modality].append(path)
    for modality, paths in found.items():
        if len(paths) != 1:
            raise InputRefusedError(f"one {modality} is needed", found=str(len(paths)), where=str(folder))
    dose = read_dose(found["RTDOSE"][0])
    if dose.summation_type != "PLAN":
        raise InputRefusedError("the RTDOSE is not of the plan", found=dose.summation_type, expected="PLAN")
    return Case(read_plan(found["RTPLAN"][0]), read_structures(found["RTSTRUCT"][0]), dose.dose_gy)


def density_volume(structures: StructureSet) -> tuple[Volume, dict[str, float]]:
    """Return electron density relative to water from contours, and what each structure was given.

    Partial volumes mix. Densities in the RTSTRUCT (ROI Physical Properties) win over those of names.
    """
    external = structures.external()
    if external is None:
        raise InputRefusedError("densities need EXTERNAL", found=", ".join(structures.names), expected="EXTERNAL")
    points = np.concatenate([c.points_lps for c in external.contours])
    low, high = points.min(axis=0), points.max(axis=0)
    spacing = np.array([_VOXEL_MM, _VOXEL_MM, float(np.diff(np.unique(points[:, 2])).min())])
    # Planes of the grid are those of the contours; nothing is outside along z, where the patient goes on.
    x, y, z = (float(v) for v in low - [_BORDER_MM, _BORDER_MM, 0.0])
    counts = np.rint((high - low + [2 * _BORDER_MM, 2 * _BORDER_MM, 0.0]) / spacing).astype(int) + 1
    columns, rows, planes = (int(n) for n in counts)
    grid = Grid((planes, rows, columns), (_VOXEL_MM, _VOXEL_MM, float(spacing[2])), (x, y, z))
    body = mask_from_structure(external, grid).array
    red, given = AIR + (1.0 - AIR) * body, {external.name: 1.0}
    for structure, density in [*_by_name(structures), *_stated(structures)]:
        part = mask_from_structure(structure, grid).array
        red += part * (density - red)
        given[structure.name] = density
    return Volume(red.astype(np.float32), grid), given


def _by_name(structures: StructureSet) -> Iterator[tuple[Structure, float]]:
    for structure in structures:
        for word, density in DENSITIES:
            if word in structure.name.lower() and not structure.is_empty:
                yield structure, density


def _stated(structures: StructureSet) -> Iterator[tuple[Structure, float]]:
    for structure in structures:
        if structure.relative_electron_density is not None and not structure.is_empty:
            yield structure, structure.relative_electron_density


def computed(case: Case, red: Volume, *, leaves: LeafModel | None = None) -> PlanDose:
    """Return our dose of a fraction on the grid of the RTDOSE; leaves as the machines' own where none are given."""
    position = case.plan.patient_position
    if position is None:
        raise InputRefusedError("the RTPLAN states no patient position", expected="HFS, HFP, FFS or FFP")
    machines = [load_machine(name) for name in MACHINES]
    if leaves is not None:
        machines = [replace(machine, leaves=leaves) for machine in machines]
    return mixed_plan_dose(case.plan, red, machines, dose_grid=case.course_gy.grid, patient_position=position)


def figures(case: Case, ours_gy: Volume) -> tuple[StructureFigures, ...]:
    """Return every structure's doses that are a volume, the highest first."""
    rows = []
    for structure in case.structures:
        if structure.is_empty:
            continue
        mine, theirs = (dvh(structure, dose) for dose in (ours_gy, case.course_gy))
        rows.append(
            StructureFigures(
                structure=structure.name,
                volume_cc=round(mine.volume_cc, 2),
                mean_gy=round(mine.mean_gy, 3),
                tps_mean_gy=round(theirs.mean_gy, 3),
                d95_gy=round(mine.metric("D95%[Gy]"), 3),
                tps_d95_gy=round(theirs.metric("D95%[Gy]"), 3),
                difference_percent=round(100 * (mine.mean_gy / theirs.mean_gy - 1), 2),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.tps_mean_gy))


def agreement(case: Case, ours_gy: Volume, target: Structure) -> Agreement:
    """Compare a course dose with theirs."""
    mine, theirs = (dvh(target, dose).mean_gy for dose in (ours_gy, case.course_gy))
    scaled_gy = ours_gy.with_array(ours_gy.array * np.float32(theirs / mine))
    plain, scaled = (
        gamma(case.course_gy, dose, dose_percent=3.0, distance_mm=3.0, cutoff_percent=10.0)
        for dose in (ours_gy, scaled_gy)
    )
    return Agreement(
        round(plain.pass_percent, 2), plain.points, round(100 * (mine / theirs - 1), 2), round(scaled.pass_percent, 2)
    )


def run(folder: Path) -> tuple[dict[str, Any], Case, Volume]:
    """Compute and compare; returns the answer, the case and our dose of the course."""
    case = read_case(folder)
    started = time.perf_counter()
    red, given = density_volume(case.structures)
    dose = computed(case, red)
    seconds = time.perf_counter() - started
    fractions = case.plan.fractions_planned
    ours_gy = dose.fraction_dose_gy.with_array(dose.fraction_dose_gy.array * np.float32(fractions))
    rows = figures(case, ours_gy)
    target = case.structures[rows[0].structure]
    mlc = next((beam.mlc for beam in case.plan.beams if beam.mlc is not None), None)
    collimator = recognise(mlc.boundaries_mm) if mlc else "none"
    leaves, with_leaves = DECLARED_LEAVES.get(collimator), None
    if leaves is not None:
        other = computed(case, red, leaves=leaves).fraction_dose_gy
        with_leaves = asdict(agreement(case, other.with_array(other.array * np.float32(fractions)), target))
    answer = {
        "schema_version": SCHEMA_VERSION,
        **asdict(agreement(case, ours_gy, target)),
        "target": target.name,
        "with_declared_leaves": with_leaves,
        "max_gy": round(float(ours_gy.array.max()), 3),
        "tps_max_gy": round(float(case.course_gy.array.max()), 3),
        "fractions": fractions,
        "structures": [asdict(row) for row in rows],
        "beams": [
            {
                "name": beam.name,
                "energy_mv": planned.nominal_energy_mv,
                "gantry_deg": planned.control_points[0].gantry_deg,
                "mu": beam.mu,
                "control_points": len(planned.control_points),
                "fraction_dose_at_isocentre_gy": round(beam.dose_at_isocentre_gy, 4),
                "beam_dose_gy": None if beam.dose_at_point_gy is None else round(beam.dose_at_point_gy, 4),
                "tps_beam_dose_gy": planned.beam_dose_gy,
            }
            for beam, planned in zip(dose.beams, case.plan.beams, strict=True)
        ],
        "collimator": collimator,
        "densities": given,
        "models": dose.model,
        "engine": dose.engine,
        "warnings": list(dose.warnings),
        "missing": list(MISSING),
        "seconds": round(seconds, 1),
    }
    return answer, case, ours_gy


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breast", description=__doc__)
    data = Path(os.environ.get("IGRT_SHARED_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("folder", type=Path, nargs="?", default=data / "dicom_breast_imrt")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    answer, case, ours_gy = run(options.folder)
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(answer, indent=1) + "\n", "utf-8")
    if options.plot:
        target = case.structures[answer["target"]]
        plot(
            case.structures,
            case.course_gy,
            ours_gy,
            names=[s["structure"] for s in answer["structures"] if s["volume_cc"] >= _DRAWN_CC][:5],
            through_lps=tuple(np.concatenate([c.points_lps for c in target.contours]).mean(axis=0)),
            title=f"Breast IMRT: gamma 3 %/3 mm {answer['gamma_3_3_percent']:.1f} %, machines not commissioned for it",
            path=options.plot,
        )
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    table = Table(
        "structure", "cc", "mean Gy", "TPS", "D95 Gy", "TPS", "mean %",
        title=f"Gamma 3 %/3 mm {answer['gamma_3_3_percent']:.1f} % of {answer['gamma_points']} points; "
        f"{answer['gamma_3_3_percent_scaled']:.1f} % scaled to their mean over {answer['target']}",
    )  # fmt: skip
    for row in answer["structures"]:
        numbers = [f"{row[key]:.2f}" for key in ("volume_cc", "mean_gy", "tps_mean_gy", "d95_gy", "tps_d95_gy")]
        table.add_row(row["structure"], *numbers, f"{row['difference_percent']:+.1f}")
    console = Console()
    console.print(table)
    for line in (*answer["warnings"], *(f"missing: {text}" for text in MISSING)):
        console.print(line)


if __name__ == "__main__":
    main()
