"""A reader of VTK's XML poly data (``.vtp``), as far as SlicerRT writes contours in it.

Binary inline arrays, little endian, 32-bit block headers, zlib: https://docs.vtk.org/en/latest/vtk_file_formats/.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import InputRefusedError

_TYPES = {"Float32": "<f4", "Float64": "<f8", "Int32": "<i4", "Int64": "<i8"}


@dataclass(frozen=True, eq=False)
class PolyLines:
    """Named closed polylines.

    Parameters
    ----------
    name : str
        Segment name.
    color_rgb : tuple of int
        Display colour.
    lines : tuple of ndarray, shape (n, 3)
        Vertices in the file's coordinates (3D Slicer: RAS mm), the closing vertex left out.
    """

    name: str
    color_rgb: tuple[int, int, int]
    lines: tuple[NDArray[np.float64], ...]


def read_polylines(path: Path) -> PolyLines:
    """Read one segment.

    Raises
    ------
    InputRefusedError
        If the file is no such poly data, or a line is not closed.
    """
    try:
        root = ElementTree.parse(path).getroot()
        layout = (root.get("type"), root.get("byte_order"), root.get("header_type"), root.get("compressor"))
        if layout != ("PolyData", "LittleEndian", "UInt32", "vtkZLibDataCompressor"):
            raise InputRefusedError("not the poly data expected", found=str(layout), where=str(path))
        fields = {str(e.get("Name")): e for e in root.iterfind("./PolyData/FieldData/*")}
        points = _array(_only(root, "./PolyData/Piece/Points/DataArray")).reshape(-1, 3).astype(np.float64)
        lines = {e.get("Name"): _array(e) for e in root.iterfind("./PolyData/Piece/Lines/DataArray")}
        parts = np.split(lines["connectivity"], lines["offsets"][:-1])
        name = _inflated(fields["Segment_Name"]).rstrip(b"\0").decode()
        color = np.frombuffer(_inflated(fields["Segment_DefaultColor"]), "<f8")
    except (ElementTree.ParseError, KeyError, ValueError, zlib.error) as error:
        raise InputRefusedError("unreadable poly data", found=str(error), where=str(path)) from error
    for part in parts:
        if part[0] != part[-1]:
            raise InputRefusedError("a contour is not closed", found=f"ends at {part[-1]}", where=f"{name}, {path}")
    red, green, blue = (int(c) for c in np.rint(np.clip(color, 0, 1) * 255))
    return PolyLines(name, (red, green, blue), tuple(points[part[:-1]] for part in parts))


def _only(root: ElementTree.Element, where: str) -> ElementTree.Element:
    found = root.findall(where)
    if len(found) != 1:
        raise ValueError(f"{len(found)} elements at {where}")
    return found[0]


def _array(element: ElementTree.Element) -> NDArray[np.generic]:
    return np.frombuffer(_inflated(element), _TYPES[str(element.get("type"))])


def _inflated(element: ElementTree.Element) -> bytes:
    """Undo base64 and zlib: header (blocks, block size, last size, compressed sizes …) and data are encoded apart."""
    text = (element.text or "").strip()
    blocks = int(np.frombuffer(base64.b64decode(text[:16])[:4], "<u4")[0])
    header_bytes = 4 * (3 + blocks)
    header_chars = 4 * ((header_bytes + 2) // 3)
    sizes = np.frombuffer(base64.b64decode(text[:header_chars])[:header_bytes], "<u4")[3:]
    data = base64.b64decode(text[header_chars:])
    ends = np.cumsum(sizes)
    return b"".join(zlib.decompress(data[end - size : end]) for size, end in zip(sizes, ends, strict=True))
