"""Influence matrices on disk: one file, written whole or not at all, read by mapping it into memory.

The file begins with :data:`MAGIC` and the length of a JSON header (8 bytes, little endian); the header names every
array with its type, shape and place; arrays follow, each aligned to 64 bytes. Loading maps the file: entries come into
memory when a product first reads them, and processes that load the same file share them.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry import BeamGeometry
from imrt_core.patient import Grid, PlanError

from .bixels import Bixels
from .gaussian_maps import GaussianMaps
from .influence_block import BeamBlock, WideComponents
from .influence_groups import GroupLayout, StoredGroups
from .map_groups import MapGroups
from .tail_maps import TailMaps

MAGIC = b"IGRTDIM\n"
#: Raised whenever the arrays or their meaning change; other versions are refused.
FORMAT_VERSION = 2
_ALIGNMENT = 64
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (StoredGroups, GroupLayout, WideComponents, GaussianMaps, TailMaps, MapGroups)
}


class _Packer:
    """Collects arrays and gives each a number."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []

    def pack(self, value: Any) -> Any:
        """Replace arrays by their numbers; tuples and dataclasses of this module's kinds are walked through."""
        if isinstance(value, np.ndarray):
            self.arrays.append(np.ascontiguousarray(value))
            return {"array": len(self.arrays) - 1}
        if isinstance(value, tuple):
            return [self.pack(part) for part in value]
        if type(value).__name__ in _KINDS:
            return {"kind": type(value).__name__, **{f.name: self.pack(getattr(value, f.name)) for f in fields(value)}}
        return value


def write_matrix(
    path: Path, *, blocks: tuple[BeamBlock, ...], voxels: NDArray[np.int64], dose_grid: Grid, model_name: str
) -> None:
    """Write a matrix; the file appears by rename when all of it is on disk."""
    packer = _Packer()
    content = {
        "format_version": FORMAT_VERSION,
        "model_name": model_name,
        "dose_grid": asdict(dose_grid),
        "voxels": packer.pack(voxels),
        "blocks": [
            {
                "beam": asdict(block.beam),
                "bixels": {
                    "width_mm": block.bixels.width_mm,
                    "index": packer.pack(block.bixels.index),
                    "offset_mm": block.bixels.offset_mm,
                },
                "fluence": packer.pack(block.fluence),
                "stored": packer.pack(block.stored),
                "wide": packer.pack(block.wide),
            }
            for block in blocks
        ],
    }
    place, places = 0, []
    for array in packer.arrays:
        places.append({"dtype": array.dtype.str, "shape": array.shape, "offset": place})
        place += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps({**content, "arrays": places, "bytes": place}, default=_plain).encode()
    start = -(-(len(MAGIC) + 8 + len(header)) // _ALIGNMENT) * _ALIGNMENT
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + len(header).to_bytes(8, "little") + header)
            file.write(bytes(start - file.tell()))
            for array in packer.arrays:
                file.write(array.data if array.nbytes else b"")
                file.write(bytes(-file.tell() % _ALIGNMENT))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_matrix(path: Path, *, model_name: str | None) -> dict[str, Any]:
    """Map a file; returns the arguments of :class:`imrt_core.dose.InfluenceMatrix`.

    Raises
    ------
    PlanError
        If the file is not an influence matrix, is of another version or beam model, or is not complete.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise PlanError("not an influence matrix", where=path.name, expected=MAGIC.decode().strip())
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise PlanError("the influence matrix is damaged", where=path.name, found="no readable header") from error
    if header["format_version"] != FORMAT_VERSION:
        found, expected = str(header["format_version"]), str(FORMAT_VERSION)
        raise PlanError("influence matrix of another version", where=path.name, found=found, expected=expected)
    if model_name is not None and header["model_name"] != model_name:
        found = header["model_name"]
        raise PlanError("influence matrix of another beam model", where=path.name, found=found, expected=model_name)
    start = -(-(len(MAGIC) + 8 + length) // _ALIGNMENT) * _ALIGNMENT
    size = path.stat().st_size
    if size != start + header["bytes"]:
        expected = f"{start + header['bytes']} bytes"
        raise PlanError("the influence matrix is damaged", where=path.name, found=f"{size} bytes", expected=expected)
    # Copy on write: kernels then see the type that they are compiled for, and the file stays as it is.
    mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="c", offset=0))
    arrays = []
    for place in header["arrays"]:
        dtype, shape = np.dtype(place["dtype"]), tuple(place["shape"])
        begin = start + place["offset"]
        count = int(np.prod(shape)) * dtype.itemsize
        arrays.append(mapped[begin : begin + count].view(dtype).reshape(shape))
    return {
        "blocks": tuple(_block(part, arrays) for part in header["blocks"]),
        "voxels": _unpack(header["voxels"], arrays),
        "dose_grid": Grid(**{name: _tuples(value) for name, value in header["dose_grid"].items()}),
        "model_name": header["model_name"],
    }


def _block(part: dict[str, Any], arrays: list[NDArray[Any]]) -> BeamBlock:
    beam = {name: _tuples(value) for name, value in part["beam"].items()}
    bixels = part["bixels"]
    return BeamBlock(
        beam=BeamGeometry(**beam),
        bixels=Bixels(bixels["width_mm"], _unpack(bixels["index"], arrays), _tuples(bixels["offset_mm"])),
        fluence=_unpack(part["fluence"], arrays),
        stored=_unpack(part["stored"], arrays),
        wide=_unpack(part["wide"], arrays),
    )


def _unpack(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict):
        return _KINDS[value["kind"]](**{name: _unpack(part, arrays) for name, part in value.items() if name != "kind"})
    if isinstance(value, list):
        return tuple(_unpack(part, arrays) for part in value)
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not belong in the header")
