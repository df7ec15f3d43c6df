"""What made a number: versions of the code and its libraries, hashes of protocol, machine and inputs."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import imrt_core
import pipelines
import registration
from pipelines.report.parts import NamedHash, NamedVersion, Provenance

from .store import CourseFolder, FractionFolder

_LIBRARIES = ("numpy", "scipy", "numba", "SimpleITK", "pydicom", "dagster")


@cache
def code_revision() -> str:
    """Return a hash of all source files of the three packages: two runs with the same one ran the same code."""
    digest = hashlib.sha256()
    for package in (imrt_core, pipelines, registration):
        root = Path(str(package.__file__)).resolve().parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions that the ledger keeps with every fraction."""
    found = {"igrt": version("igrt"), "code": code_revision(), "python": platform.python_version()}
    return found | {name: version(name) for name in _LIBRARIES}


def provenance(course: CourseFolder, fraction: FractionFolder | None = None) -> Provenance:
    """Return what a report says about its making."""
    record = course.record()
    protocol = course.protocol()
    hashes = [
        NamedHash(what="planning DICOM", sha256=record.input_sha256),
        NamedHash(what="protocol", sha256=record.protocol_sha256),
        NamedHash(what="machine file", sha256=record.machine_sha256),
    ]
    if fraction is not None and fraction.setup_file.is_file():
        hashes.append(NamedHash(what="setup image", sha256=fraction.setup_record().governing.sha256))
    return Provenance(
        software_version=f"igrt {version('igrt')}",
        code_revision=code_revision(),
        protocol=protocol.name,
        protocol_version=protocol.version,
        versions=tuple(
            NamedVersion(name=name, version=text) for name, text in versions().items() if name not in ("igrt", "code")
        ),
        hashes=tuple(hashes),
    )
