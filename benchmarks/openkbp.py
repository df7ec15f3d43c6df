"""An OpenKBP patient as DICOM, with simulated set-up images of known shift and shrinkage.

``python -m benchmarks.openkbp NPZ OUT_DIR [--fractions N] [--seed S] [--json] [--force]``

Writes ``OUT_DIR/plan/`` (CT, RTSTRUCT, RTDOSE), ``OUT_DIR/fxNN/`` (set-up images; N fractions spread evenly over the
35 of the course) and ``OUT_DIR/truth.json``. The set-up images are simulated from the planning CT: OpenKBP has no
daily images. Its CT is itself cropped (to the region where dose may lie and the structures, in some patients to a slab
of a few cm); nothing is invented beyond: air.

Data: Babier A et al., "OpenKBP: the open-access knowledge-based planning grand challenge and dataset", Med Phys 48
(2021) 5549-5561.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.openkbp_data import OpenKbpPatient, load
from imrt_core.dicom import read_dose, read_structures, uid_from, write_dose, write_image, write_structures
from imrt_core.evaluate import dvh
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.patient import (
    DoseDistribution,
    InputRefusedError,
    PatientIdentity,
    PatientImage,
    Scanner,
    Structure,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import structure_from_mask
from imrt_core.phantom import (
    HeadNeckChange,
    SimulatedFraction,
    bone_from_hu,
    daily_image,
    write_fraction,
    write_truth,
)

SCHEMA_VERSION = 1
#: OpenKBP plans are of 70 Gy in 35 fractions.
COURSE_FRACTIONS = 35
_COLORS = {"PTV70": (230, 40, 40), "PTV63": (240, 130, 40), "PTV56": (250, 210, 60)}
#: Structures below this volume are no fair test of a DVH on voxels of 4 to 5 mm.
_SMALLEST_CC = 2.0


@dataclass(frozen=True)
class ConvertedFraction:
    """Where a set-up image lies, and the couch motion that corrects it."""

    number: int
    dir: Path
    shift_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Parameters
    ----------
    patient : str
        Patient ID.
    plan_dir : Path
        CT, RTSTRUCT and RTDOSE.
    fractions : tuple of ConvertedFraction
        By number.
    dvh_mean_difference_gy, dvh_d95_difference_gy : float
        Largest absolute difference, over structures of 2 cc and more, between our DVH of the written contours and
        dose and the data set's own masks and dose (trilinear at points within every voxel, by scipy).
    """

    patient: str
    plan_dir: Path
    fractions: tuple[ConvertedFraction, ...]
    dvh_mean_difference_gy: float
    dvh_d95_difference_gy: float


def convert(npz: Path, out_dir: Path, *, fractions: int = 2, seed: int = 0) -> Conversion:
    """Write one patient with simulated fractions.

    Parameters
    ----------
    npz : Path
        See :func:`load`.
    out_dir : Path
        Must not hold an earlier conversion.
    fractions : int
        How many set-up images, spread evenly from the first to the last fraction of the course.
    seed : int
        Of set-up errors, variation and noise.

    Raises
    ------
    InputRefusedError
        If the file cannot be used, or the folder holds files already.
    """
    out_dir = Path(out_dir).resolve()
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InputRefusedError("the output folder is not empty", found=str(out_dir), expected="an empty folder")
    patient = load(Path(npz))
    plan_dir = out_dir / "plan"
    image, structures_path, dose_path = write_planning(patient, plan_dir)
    # From here on what was written counts: a reader of the folder finds the same isocentre and the same DVH.
    structures = read_structures(structures_path)
    mean_gy, d95_gy = _dvh_differences(patient, structures, read_dose(dose_path).dose_gy)
    bone = bone_from_hu(patient.hu)
    numbers = sorted({int(n) for n in np.floor(np.linspace(1, COURSE_FRACTIONS, max(fractions, 1)) + 0.5)})
    simulated = [
        daily_image(
            image,
            structures,
            number,
            fractions=COURSE_FRACTIONS,
            bone=bone,
            isocentre_lps=target_isocentre_lps(structures),
            change=HeadNeckChange(),
            seed=seed,
        )
        for number in numbers
    ]
    written = tuple(_write(fraction, out_dir) for fraction in simulated)
    write_truth(out_dir / "truth.json", simulated)
    return Conversion(image.patient.patient_id, plan_dir, written, mean_gy, d95_gy)


def write_planning(patient: OpenKbpPatient, plan_dir: Path) -> tuple[PatientImage, Path, Path]:
    """Write CT, RTSTRUCT and RTDOSE of a patient; return the CT and the paths of the other two."""
    image, drawn = patient_data(patient)
    write_image(image, plan_dir / "ct")
    structures_path = write_structures(drawn, image=image, path=plan_dir / "rtstruct.dcm")
    dose = DoseDistribution(
        patient.course_dose_gy,
        summation_type="PLAN",
        frame_of_reference_uid=image.frame_of_reference_uid,
        sop_instance_uid=uid_from("openkbp", patient.name, "dose"),
        comment="OpenKBP reference dose, 70 Gy in 35 fractions",
    )
    dose_path = write_dose(dose, image=image, path=plan_dir / "rtdose.dcm", structures_uid=drawn.sop_instance_uid)
    return image, structures_path, dose_path


def _write(fraction: SimulatedFraction, out_dir: Path) -> ConvertedFraction:
    folder = write_fraction(fraction, out_dir / f"fx{fraction.fraction:02d}")
    return ConvertedFraction(fraction.fraction, folder, fraction.shift_mm, fraction.rotation_deg)


def patient_data(patient: OpenKbpPatient) -> tuple[PatientImage, StructureSet]:
    """Return a patient's CT and contoured structures, as they are written, for planning without files."""
    image = _image(patient)
    return image, _structures(patient, image)


def _image(patient: OpenKbpPatient) -> PatientImage:
    key = ("openkbp", patient.name)
    return PatientImage(
        hu=patient.hu,
        patient=PatientIdentity(f"OPENKBP-{patient.name}", f"OpenKBP^{patient.name}"),
        frame_of_reference_uid=uid_from(*key, "frame"),
        study_uid=uid_from(*key, "study"),
        series_uid=uid_from(*key, "ct"),
        slice_uids=tuple(uid_from(*key, "ct", str(k)) for k in range(patient.hu.grid.shape[0])),
        # The data set does not say; head-and-neck patients are treated head first supine.
        patient_position="HFS",
        acquired="2020-01-06T09:00:00",
        scanner=Scanner("CT", "OpenKBP", "CT", "", 120.0),
    )


def _structures(patient: OpenKbpPatient, image: PatientImage) -> StructureSet:
    drawn: list[Structure] = []
    for number, (name, mask) in enumerate(patient.masks, start=1):
        kind = "EXTERNAL" if name == "External" else "PTV" if name.startswith("PTV") else "ORGAN"
        drawn.append(
            structure_from_mask(
                _finer(mask),
                name=name,
                number=number,
                interpreted_type=kind,
                color_rgb=_COLORS.get(name, (0, 200, 0) if kind == "EXTERNAL" else (80, 150, 240)),
            )
        )
    return StructureSet(
        tuple(drawn),
        frame_of_reference_uid=image.frame_of_reference_uid,
        sop_instance_uid=uid_from("openkbp", patient.name, "structures"),
        referenced_series_uid=image.series_uid,
        label="OpenKBP",
    )


def _finer(mask: Volume) -> Volume:
    """Split every voxel in the plane in nine: contours then follow voxel borders and keep the volume.

    A contour at half height between voxel centres would cut every corner: a PTV one voxel thick, and there are some,
    would lose a third of its volume.
    """
    factor = 3
    array = mask.array.repeat(factor, axis=1).repeat(factor, axis=2)
    sx, sy, sz = mask.grid.spacing_mm
    return Volume(array, mask.grid.resampled((sx / factor, sy / factor, sz)))


def _dvh_differences(patient: OpenKbpPatient, structures: StructureSet, dose_gy: Volume) -> tuple[float, float]:
    """Largest |Δ mean| and |Δ D95| between what was written and the data set, its masks sampled trilinearly too.

    The reference takes scipy's trilinear dose at 4×4×3 points of every voxel of a mask, all of one weight: the
    definition of our DVH on other geometry and by other code.
    """
    shipped = patient.course_dose_gy
    steps = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in (3, 4, 4)), indexing="ij")
    inner = np.stack(steps, axis=-1).reshape(-1, 3)
    mean, d95 = 0.0, 0.0
    for name, mask in patient.masks:
        voxels = np.argwhere(mask.array)
        if name == "External" or len(voxels) * mask.grid.voxel_volume_cc < _SMALLEST_CC:
            continue
        points = (voxels[:, None, :] + inner[None]).reshape(-1, 3).T
        reference = ndimage.map_coordinates(shipped.array, points, order=1, mode="nearest")
        ours = dvh(structures[name], dose_gy)
        mean = max(mean, abs(ours.mean_gy - float(reference.mean(dtype=np.float64))))
        d95 = max(d95, abs(ours.metric("D95%[Gy]") - float(np.percentile(reference, 5))))
    return mean, d95


def _clear(out_dir: Path) -> None:
    """Remove an earlier conversion, and nothing else."""
    for folder in (out_dir / "plan", *out_dir.glob("fx[0-9][0-9]")):
        if folder.is_dir():
            shutil.rmtree(folder)
    (out_dir / "truth.json").unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 done, 3 input refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openkbp", description=__doc__)
    parser.add_argument("npz", type=Path, help="OpenKBP patient")
    parser.add_argument("out_dir", type=Path, help="folder to write")
    parser.add_argument("--fractions", type=int, default=2, help="how many set-up images (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--force", action="store_true", help="replace an earlier conversion")
    options = parser.parse_args(arguments)
    try:
        if options.force:
            _clear(options.out_dir)
        conversion = convert(options.npz, options.out_dir, fractions=options.fractions, seed=options.seed)
    except InputRefusedError as error:
        if options.json:
            sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
        Console(stderr=True).print(f"refused: {error}", style="red", markup=False)
        return 3
    if options.json:
        answer = {
            "schema_version": SCHEMA_VERSION,
            "patient": conversion.patient,
            "plan": str(conversion.plan_dir),
            "fractions": [
                {"dir": str(f.dir), "shift_mm": list(f.shift_mm), "rotation_deg": list(f.rotation_deg)}
                for f in conversion.fractions
            ],
            "dvh_mean_difference_gy": conversion.dvh_mean_difference_gy,
            "dvh_d95_difference_gy": conversion.dvh_d95_difference_gy,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        return 0
    table = Table(title=conversion.patient)
    for column in ("set-up image", "vertical, longitudinal, lateral mm", "pitch, roll, yaw °"):
        table.add_column(column)
    for f in conversion.fractions:
        table.add_row(
            f.dir.name, "{:+.1f} {:+.1f} {:+.1f}".format(*f.shift_mm), "{:+.1f} {:+.1f} {:+.1f}".format(*f.rotation_deg)
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
