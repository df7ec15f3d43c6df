"""Writers of the formats, apart from the readers: what the tests read back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imrt_core.machine.scans import Scan

MCC_CURVE = {
    "pdd": "PDD",
    "crossline": "CROSSPLANE_PROFILE",
    "inline": "INPLANE_PROFILE",
    "diagonal": "INPLANE_PROFILE",
}


def mcc_scan(number: int, scan: Scan, **keys: str) -> str:
    """One scan in a PTW mcc file; `keys` replace or add keywords, an empty text leaves one out."""
    head = {
        "LINAC": scan.machine,
        "MODALITY": "X",
        "ISOCENTER": "1000.00",
        "INPLANE_AXIS_DIR": "TARGET_GUN",
        "CROSSPLANE_AXIS_DIR": "LEFT_RIGHT",
        "DEPTH_AXIS_DIR": "UP_DOWN",
        "ENERGY": f"{scan.energy_mv or 6}",
        "SSD": repr(scan.ssd_mm),
        "FIELD_INPLANE": repr(scan.field_y_mm),
        "FIELD_CROSSPLANE": repr(scan.field_x_mm),
        "DETECTOR_NAME": scan.detector.name,
        "SCAN_CURVETYPE": MCC_CURVE[scan.kind],
        "SCAN_DIAGONAL": "FIRST_DIAGONAL" if scan.kind == "diagonal" else "NOT_DIAGONAL",
        "MEAS_MEDIUM": "WATER",
        "MEAS_UNIT": "A.U.",
    }
    if scan.depth_mm is not None:
        head["SCAN_DEPTH"] = repr(scan.depth_mm)
    head.update(keys)
    lines = [f"\tBEGIN_SCAN  {number}", *(f"\t\t{key}={value}" for key, value in head.items() if value)]
    rows = [f"\t\t\t{float(p)!r}\t\t{float(v)!r}" for p, v in zip(scan.position_mm, scan.value, strict=True)]
    return "\n".join([*lines, "\t\tBEGIN_DATA", *rows, "\t\tEND_DATA", f"\tEND_SCAN  {number}"])


def mcc(scans: Sequence[Scan], **keys: str) -> str:
    """A PTW mcc file."""
    body = [mcc_scan(number, scan, **keys) for number, scan in enumerate(scans, start=1)]
    return "\n".join(["BEGIN_SCAN_DATA", "\tFORMAT=CC-Export V1.9", *body, "END_SCAN_DATA", ""])


def w2cad(scans: Sequence[Scan], **keys: str) -> str:
    """A W2CAD file: positions and doses have one decimal."""
    lines = [f"$NUMS {len(scans):03d}"]
    for scan in scans:
        axis = {"pdd": "Z", "crossline": "X", "inline": "Y", "diagonal": "D"}[scan.kind]
        head = {
            "VERSION": "02",
            "DATE": "20-09-2011",
            "DETY": "CHA",
            "BMTY": "PHO",
            "FLSZ": f"{scan.field_x_mm:03.0f}*{scan.field_y_mm:03.0f}",
            "TYPE": {"Z": "OPD", "D": "DPR"}.get(axis, "OPP"),
            "AXIS": axis,
            "PNTS": f"{len(scan.value)}",
            "STEP": f"{10 * np.median(np.diff(scan.position_mm)):03.0f}",
            "SSD": f" {scan.ssd_mm:04.0f}",
        }
        if scan.depth_mm is not None:
            head["DPTH"] = f"{scan.depth_mm:03.0f}"
        head.update(keys)
        lines += ["$STOM", "#", f"# Detector: {scan.detector.name}", "#"]
        lines += [f"%{key} {value}" for key, value in head.items() if value]
        for p, v in zip(scan.position_mm, scan.value, strict=True):
            side = p / np.sqrt(2)
            depth = scan.depth_mm or 0.0
            x, y, z = {"Z": (0.0, 0.0, p), "X": (p, 0.0, depth), "Y": (0.0, p, depth), "D": (side, side, depth)}[axis]
            digits = 4 if axis == "D" else 1
            lines.append(f"<{x:+07.{digits}f} {y:+07.{digits}f} {z:+07.1f} {v:+07.1f}>")
        lines.append("$ENOM")
    return "\n".join([*lines, "$ENOF", ""])


def table(scan: Scan, *, delimiter: str = ",", unit: str = "mm") -> str:
    """A plain table."""
    per = {"mm": 1.0, "cm": 10.0}[unit]
    name = {"pdd": "depth", "tpr": "depth", "crossline": "x", "inline": "y", "diagonal": "diagonal"}[scan.kind]
    value = "tpr" if scan.kind == "tpr" else "dose_percent"
    lines = [
        f"# kind: {scan.kind}",
        f"# energy_mv: {scan.energy_mv or 6}",
        f"# field_x_{unit}: {scan.field_x_mm / per!r}",
        f"# field_y_{unit}: {scan.field_y_mm / per!r}",
        f"# ssd_{unit}: {scan.ssd_mm / per!r}",
        f"# relative_to: {scan.relative_to}",
        "# as measured on a Saturday",
    ]
    if scan.depth_mm is not None:
        lines.append(f"# depth_{unit}: {scan.depth_mm / per!r}")
    lines.append(f"{name}_{unit}{delimiter}{value}")
    for p, v in zip(scan.position_mm, scan.value, strict=True):
        row = f"{float(p) / per!r}{delimiter}{float(v)!r}"
        lines.append(row.replace(".", ",") if delimiter == ";" else row)
    return "\n".join([*lines, ""])
