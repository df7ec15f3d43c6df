"""Digital patients and simulated fractions as files: DICOM, and the truth as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imrt_core.dicom import write_image, write_structures

from .digital_patient import DigitalPatient
from .simulate import SimulatedFraction

TRUTH_SCHEMA_VERSION = 1
_DEFINITION = (
    "moving_from_fixed_lps maps points of the planning CT to points of the day's image (LPS mm, homogeneous rows). "
    "shift_mm [vertical, longitudinal, lateral] and rotation_deg [pitch, roll, yaw] are the table motion that corrects "
    "it: IEC 61217, R = Rz(yaw) Rx(pitch) Ry(roll), pivot at the machine isocentre, then translation."
)


def write_patient(patient: DigitalPatient, folder: Path) -> Path:
    """Write the planning CT (``ct/``) and the structure set (``rtstruct.dcm``) of a digital patient.

    Parameters
    ----------
    patient : DigitalPatient
        Whose files.
    folder : Path
        Made if it does not exist.

    Returns
    -------
    Path
        The folder, ready for ``igrt course add``.

    Raises
    ------
    DicomError
        If something cannot be written.
    """
    ct = patient.planning.ct
    write_image(ct, folder / "ct")
    write_structures(patient.planning.structures, image=ct, path=folder / "rtstruct.dcm")
    return folder


def write_fraction(fraction: SimulatedFraction, folder: Path) -> Path:
    """Write the image of the day as a CT series, nothing else: the truth stays apart.

    Parameters
    ----------
    fraction : SimulatedFraction
        Whose image.
    folder : Path
        Appears whole.

    Raises
    ------
    DicomError
        If something cannot be written.
    """
    write_image(fraction.image, folder)
    return folder


def truth_of_fraction(fraction: SimulatedFraction) -> dict[str, Any]:
    """Return the truth of a fraction as plain JSON values, enough to recompute the couch motion."""
    return {
        "fraction": fraction.fraction,
        "moving_from_fixed_lps": [list(row) for row in fraction.moving_from_fixed.rows],
        "planned_isocentre_lps": list(fraction.planned_isocentre_lps),
        "machine_isocentre_lps": list(fraction.machine_isocentre_lps),
        "shift_mm": list(fraction.shift_mm),
        "rotation_deg": list(fraction.rotation_deg),
        "patient_position": fraction.image.patient_position,
    }


def write_truth(
    path: Path, fractions: Sequence[SimulatedFraction], *, folders: Mapping[int, str] | None = None
) -> Path:
    """Write ``truth.json`` for a simulated course; it appears whole.

    Parameters
    ----------
    path : Path
        File to write.
    fractions : sequence of SimulatedFraction
        In any order; written by number.
    folders : mapping of int to str, optional
        Folder of each fraction's image, relative to the file; ``fxNN`` if not given.
    """
    document = {
        "schema_version": TRUTH_SCHEMA_VERSION,
        "definition": _DEFINITION,
        "fractions": [
            {"dir": (folders or {}).get(f.fraction, f"fx{f.fraction:02d}"), **truth_of_fraction(f)}
            for f in sorted(fractions, key=lambda f: f.fraction)
        ],
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path
