"""Our DVHs against those that Eclipse and CERR stored for the same structures and dose; conversion to DICOM.

``python -m benchmarks.eclipse_ent [OUT_DIR] [--json] [--save FILE]``

Data: SlicerRT's Eclipse ENT set (``slicerrt_eclipse_ent`` in the folder of real data, found through
``IGRT_SHARED_DATA``), MIT licence. Agreement is asked for structures of 2 cc and more: mean within 0.1 Gy, D95 within
0.2 Gy or 1 %, volume within 1 % or 0.5 cc. Every exception is listed with what explains it, or as unexplained.

The one difference of definition that matters is between the contours and beyond the last (that systems differ there:
Pepin et al., Med. Phys. 49, 2022, "Assessment of dose-volume histogram precision for five clinical systems"). We let
every contour stand for a slab, half a slice beyond the last ones, as CLINICAL says and CERR does. Eclipse does not say
what it does. To see whether this explains an exception, the structure is evaluated once more in the opposite way: its
shape interpolated from contour to contour (signed distance) and ending at the last. Eclipse lies between the two.

With OUT_DIR the set is written as DICOM: RTSTRUCT, RTDOSE and, since the set has no CT, an image of water inside BODY.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy import ndimage

from benchmarks.eclipse_data import Figures, data_dir, read_set, read_table, structure_key
from imrt_core.dicom import uid_from, write_dose, write_image, write_structures
from imrt_core.evaluate import dvh
from imrt_core.patient import (
    DoseDistribution,
    Grid,
    InputRefusedError,
    PatientIdentity,
    PatientImage,
    Structure,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import mask_from_structure
from imrt_core.patient.slabs import contour_slabs

SCHEMA_VERSION = 1
MIN_VOLUME_CC = 2.0
MEAN_GY, D95_GY, D95_PERCENT, VOLUME_CC, VOLUME_PERCENT = 0.1, 0.2, 1.0, 0.5, 1.0
_SUB_SLICES = 5
#: Structures below this are interpolated on a finer grid.
_SMALL_CC = 200.0
#: The tables state volumes to 0.1 cc.
_VOLUME_ROUNDING_CC = 0.05


@dataclass(frozen=True)
class Comparison:
    """One structure: ours, ours interpolated, Eclipse's and CERR's; what disagrees with Eclipse, and why."""

    structure: str
    ours: Figures
    ours_interpolated: Figures
    eclipse: Figures
    cerr: Figures
    outside_cc: float
    milliseconds: float
    judged: bool
    disagreements: tuple[str, ...]
    cause: str


def interpolated(structure: Structure) -> Volume:
    """Return a mask of the shape interpolated between neighbouring contours, ending at the last ones.

    Linear in the signed distance to the contours, on five sub-slices per gap.
    """
    slabs = contour_slabs(structure)
    pixel = 0.5 if slabs.volume_cc < _SMALL_CC else 2.0
    x0, y0, x1, y1 = slabs.extent_mm
    size = (int((y1 - y0) / pixel) + 9, int((x1 - x0) / pixel) + 9)
    corner = (x0 - 3 * pixel, y0 - 3 * pixel)
    count = round((slabs.z_mm[-1] - slabs.z_mm[0]) / slabs.spacing_mm) + 1
    planes = Grid((count, *size), (pixel, pixel, slabs.spacing_mm), (*corner, float(slabs.z_mm[0])))
    inside = mask_from_structure(structure, planes).array >= 0.5
    # The distance to the border lies half a pixel before the next pixel outside or inside.
    distance = [ndimage.distance_transform_edt(p) - ndimage.distance_transform_edt(~p) for p in inside]
    steps = (np.arange(_SUB_SLICES) + 0.5) / _SUB_SLICES
    between = [(1 - t) * below + t * above > 0 for below, above in pairwise(distance) for t in steps]
    thickness = slabs.spacing_mm / _SUB_SLICES
    grid = Grid((len(between), *size), (pixel, pixel, thickness), (*corner, float(slabs.z_mm[0]) + 0.5 * thickness))
    return Volume(np.array(between, dtype=np.float32), grid)


def compare(structures: StructureSet, dose_gy: Volume, folder: Path) -> tuple[Comparison, ...]:
    """Compare every structure of the set, the largest first."""
    eclipse = read_table(folder / "EclipseEnt_DvhTable_Eclipse.csv")
    cerr = read_table(folder / "EclipseEnt_DvhTable_CERR.csv", shift_gy=0.1)
    dvh(structures["GTV"], dose_gy)  # compiles the kernels, which is not what is timed
    found = []
    for structure in structures:
        begin = time.perf_counter()
        ours = figures(structure, dose_gy)
        milliseconds = 1000 * (time.perf_counter() - begin)
        theirs, other = eclipse[structure_key(structure.name)], cerr[structure_key(structure.name)]
        other_way = figures(interpolated(structure), dose_gy)
        judged = theirs.volume_cc >= MIN_VOLUME_CC
        wrong = disagreements(ours, theirs)
        found.append(
            Comparison(
                structure=structure.name,
                ours=ours,
                ours_interpolated=other_way,
                eclipse=theirs,
                cerr=other,
                outside_cc=round(dvh(structure, dose_gy).outside_cc, 3),
                milliseconds=round(milliseconds, 1),
                judged=judged,
                disagreements=wrong,
                cause=explain(wrong, ours, other_way, theirs, other),
            )
        )
    return tuple(sorted(found, key=lambda c: -c.ours.volume_cc))


def figures(structure: Structure | Volume, dose_gy: Volume) -> Figures:
    """Return our figures of a structure or mask."""
    histogram = dvh(structure, dose_gy)
    d95, d2 = (histogram.metric(metric) for metric in ("D95%[Gy]", "D2%[Gy]"))
    return Figures(*(round(value, 4) for value in (histogram.volume_cc, histogram.mean_gy, d95, d2)))


def disagreements(ours: Figures, theirs: Figures) -> tuple[str, ...]:
    """Name what is beyond its tolerance: ``"volume"``, ``"mean"``, ``"D95"``."""
    volume = abs(ours.volume_cc - theirs.volume_cc)
    d95 = abs(ours.d95_gy - theirs.d95_gy)
    checks = {
        "volume": volume <= max(VOLUME_CC, VOLUME_PERCENT / 100 * theirs.volume_cc) + _VOLUME_ROUNDING_CC,
        "mean": abs(ours.mean_gy - theirs.mean_gy) <= MEAN_GY,
        "D95": d95 <= max(D95_GY, D95_PERCENT / 100 * theirs.d95_gy),
    }
    return tuple(name for name, met in checks.items() if not met)


def explain(wrong: tuple[str, ...], ours: Figures, other_way: Figures, eclipse: Figures, cerr: Figures) -> str:
    """Say what explains the disagreements named in ``wrong``, or that nothing does."""
    if not wrong:
        return ""
    remaining = disagreements(other_way, eclipse)

    def explained_by_slices(name: str) -> bool:
        if name not in remaining:
            return True
        field = {"volume": "volume_cc", "mean": "mean_gy", "D95": "d95_gy"}[name]
        low, high = sorted((float(getattr(other_way, field)), float(getattr(ours, field))))
        return bool(low <= getattr(eclipse, field) <= high)

    with_cerr = "CERR agrees with us" if not disagreements(ours, cerr) else ""
    explained = [name for name in wrong if explained_by_slices(name)]
    parts = []
    if explained:
        what = "the end slices (Eclipse lies between slabs and interpolated contours, or agrees with these)"
        parts.append(f"{', '.join(explained)}: {what}")
    rest = [name for name in wrong if name not in explained]
    if rest:
        parts.append(f"{', '.join(rest)}: unexplained")
    return "; ".join([*parts, with_cerr] if with_cerr else parts)


def write_dicom(structures: StructureSet, dose_gy: Volume, folder: Path) -> tuple[Path, ...]:
    """Write CT (water inside BODY), RTSTRUCT and RTDOSE with common frame and references."""
    slabs = contour_slabs(structures["BODY"])
    x0, y0, x1, y1 = slabs.extent_mm
    spacing = (2.5, 2.5, slabs.spacing_mm)
    shape = (len(slabs.z_mm), int((y1 - y0) / 2.5) + 9, int((x1 - x0) / 2.5) + 9)
    grid = Grid(shape, spacing, (round(x0 - 10), round(y0 - 10), float(slabs.z_mm[0])))
    body = mask_from_structure(structures["BODY"], grid)
    image = PatientImage(
        hu=Volume(np.rint(1000 * body.array - 1000).astype(np.float32), grid),
        patient=PatientIdentity("ECLIPSE-ENT", "Eclipse^Ent"),
        frame_of_reference_uid=uid_from("eclipse-ent", "frame"),
        study_uid=uid_from("eclipse-ent", "study"),
        series_uid=uid_from("eclipse-ent", "ct"),
        slice_uids=tuple(uid_from("eclipse-ent", "ct", str(k)) for k in range(shape[0])),
        acquired="2009-01-01T12:00:00",
    )
    structures = dataclasses.replace(
        structures,
        frame_of_reference_uid=image.frame_of_reference_uid,
        sop_instance_uid=uid_from("eclipse-ent", "structures"),
    )
    dose = DoseDistribution(
        dose_gy, "PLAN", image.frame_of_reference_uid, uid_from("eclipse-ent", "dose"), comment="Eclipse ENT, day 1"
    )
    return (
        *write_image(image, folder / "ct"),
        write_structures(structures, image=image, path=folder / "rtstruct.dcm"),
        write_dose(dose, image=image, path=folder / "rtdose.dcm", structures_uid=structures.sop_instance_uid),
    )


def _table(rows: tuple[Comparison, ...]) -> Table:
    table = Table(title="Eclipse ENT: ours / ours interpolated / Eclipse / CERR")
    for name in ("structure", "volume cc", "mean Gy", "D95 Gy", "D2 Gy", "ms", "verdict"):
        table.add_column(name, justify="left" if name in ("structure", "verdict") else "right")
    for row in rows:
        four = (row.ours, row.ours_interpolated, row.eclipse, row.cerr)
        columns: list[NDArray[np.float64]] = list(np.array([dataclasses.astuple(one) for one in four]).T)
        verdict = "agrees" if not row.disagreements else row.cause
        if not row.judged:
            verdict = f"below {MIN_VOLUME_CC:g} cc, not judged"
        table.add_row(
            escape(row.structure),
            *(" / ".join(f"{value:.2f}" for value in column) for column in columns),
            f"{row.milliseconds:.0f}",
            verdict,
        )
    return table


def main() -> None:
    """Run the comparison; exits 0 when it ran to the end, whatever it found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eclipse_ent", description=__doc__.split("\n")[0])
    parser.add_argument("out_dir", nargs="?", type=Path, help="write the set as DICOM here")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    try:
        structures, dose_gy = read_set(data_dir())
        rows = compare(structures, dose_gy, data_dir())
        written = () if arguments.out_dir is None else write_dicom(structures, dose_gy, arguments.out_dir.resolve())
    except InputRefusedError as error:
        if arguments.json:
            print(json.dumps({"error": error.as_dict()}))
        Console(stderr=True).print(str(error))
        sys.exit(3)
    judged = [row for row in rows if row.judged]
    result = {
        "schema_version": SCHEMA_VERSION,
        "tolerances": {"mean_gy": MEAN_GY, "d95": "0.2 Gy or 1 %", "volume": "0.5 cc or 1 %, + 0.05 cc rounding"},
        "structures": [dataclasses.asdict(row) for row in rows],
        "judged": len(judged),
        "agree": sum(not row.disagreements for row in judged),
        "exceptions": [
            {"structure": row.structure, "disagreements": row.disagreements, "cause": row.cause}
            for row in judged
            if row.disagreements
        ],
        "files": [str(path) for path in written],
        "seconds": round(time.perf_counter() - begin, 2),
    }
    text = json.dumps(result, indent=None if arguments.json else 1, ensure_ascii=False)
    if arguments.save is not None:
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        arguments.save.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if arguments.json:
        print(text)
    else:
        Console(width=200).print(_table(rows))


if __name__ == "__main__":
    main()
