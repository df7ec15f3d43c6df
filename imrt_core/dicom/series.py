"""Folders of DICOM files: which series are in them, and whether each is complete.

What may lie beside DICOM files is listed here, not guessed: ``DICOMDIR``, hidden files, and files whose name says that
they are documents (``LICENSE``, ``notes.txt``, ``truth.json``). Every other file must be DICOM; a damaged slice without
extension must not vanish silently.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from imrt_core.patient import DicomError, InputRefusedError

from .header import Header, read_header
from .opening import has_dicom_prefix, tolerant_values
from .slices import distinct_slices, slice_stack, volume_slices
from .uids import CT_IMAGE, MEDIA_DIRECTORY

_DOCUMENT_SUFFIXES = frozenset(
    (
        ".txt",
        ".md",
        ".rst",
        ".json",
        ".csv",
        ".tsv",
        ".xml",
        ".html",
        ".htm",
        ".pdf",
        ".log",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".inf",
        ".cfg",
        ".png",
        ".jpg",
        ".sha256",
    )
)
_DOCUMENT_NAMES = frozenset(
    (
        "license",
        "licence",
        "copying",
        "notice",
        "authors",
        "readme",
        "changes",
        "changelog",
        "version",
        "thumbs.db",
        "desktop.ini",
        "lockfile",
    )
)


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series in a folder.

    Parameters
    ----------
    series_uid : str
        Series Instance UID; empty for files that cannot be read.
    modality : str
        ``"CT"``, ``"RTSTRUCT"``, …; empty for files that cannot be read.
    files : tuple of Path
        Sorted.
    complete : bool
        Whether everything that is there is readable and, for CT, forms a gapless volume with as many slices as the
        headers announce (Number of Series Related Instances, where they do). Slices at an end that are still on
        their way and that no header announces cannot be noticed: wait until the folder is quiet.
    problem : str
        Why it is not complete; empty if it is.
    patient_id : str
        Patient ID, to find the course; not for logs.
    frame_of_reference_uid : str
        Frame, empty if not stated.
    """

    series_uid: str
    modality: str
    files: tuple[Path, ...]
    complete: bool
    problem: str = ""
    patient_id: str = field(default="", repr=False)
    frame_of_reference_uid: str = ""


def dicom_files(path: Path) -> list[Path]:
    """List what must be DICOM in a folder and its subfolders (or the one file), sorted by name.

    Raises
    ------
    DicomError
        If there is nothing at ``path``.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DicomError("no such file or folder", where=str(path), code="not-found")
    found = []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(file for file in found if not _is_document(file))


def _is_document(path: Path) -> bool:
    name = path.name.lower()
    if name == "dicomdir":
        return True
    named = name in _DOCUMENT_NAMES or path.suffix.lower() in _DOCUMENT_SUFFIXES
    return named and not has_dicom_prefix(path)


@tolerant_values()
def scan(path: Path) -> tuple[list[Header], list[tuple[Path, DicomError]]]:
    """Read the heads of all files.

    Returns
    -------
    list of Header
        Of the files that could be read, directories of media left out.
    list of (Path, DicomError)
        The others, with the reason.
    """
    headers, refused = [], []
    for file in dicom_files(path):
        try:
            header = read_header(file)
        except DicomError as error:
            refused.append((file, error))
            continue
        if header.sop_class != MEDIA_DIRECTORY:
            headers.append(header)
    return headers, refused


def scan_strictly(path: Path) -> list[Header]:
    """Read the heads of all files, refusing the first that cannot be read.

    Raises
    ------
    DicomError
        Naming the file.
    """
    headers, refused = scan(path)
    if refused:
        raise refused[0][1]
    return headers


@tolerant_values()
def find_series(folder: Path) -> tuple[SeriesFiles, ...]:
    """Group the files of a folder and its subfolders into series, reading headers only.

    Parameters
    ----------
    folder : Path
        Or a single file.

    Returns
    -------
    tuple of SeriesFiles
        In the order of their first file; each file that cannot be read is an entry of its own, without UID.
        Localizers (scouts) are series of their own kind and not complete as a volume.

    Raises
    ------
    DicomError
        If the folder does not exist.
    """
    headers, refused = scan(Path(folder))
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series_uid or str(header.path), []).append(header)
    found = [SeriesFiles("", "", (path,), complete=False, problem=str(error)) for path, error in refused]
    for group in groups.values():
        problem = series_problem(group)
        found.append(
            SeriesFiles(
                series_uid=group[0].series_uid,
                modality=group[0].text("Modality"),
                files=tuple(header.path for header in group),
                complete=not problem,
                problem=problem,
                patient_id=group[0].text("PatientID"),
                frame_of_reference_uid=group[0].text("FrameOfReferenceUID"),
            )
        )
    return tuple(sorted(found, key=lambda series: series.files[0]))


def series_problem(headers: list[Header]) -> str:
    """Say why a series is not complete; empty if it is."""
    for header in headers:
        if header.problem:
            return f"{header.path.name}: {header.problem}"
    if any(header.sop_class != CT_IMAGE for header in headers):
        return ""
    try:
        where = str(headers[0].path.parent)
        stack, _ = slice_stack(distinct_slices(volume_slices(headers), where=where), where=where)
    except InputRefusedError as error:
        return str(error)
    return "one slice is no volume" if len(stack) == 1 else ""
