"""Setup images on their way in: which course, which fraction, complete or not (CLINICAL, "Which fraction").

Only headers are read here; the ``setup_image`` stage reads the pixels and refuses what must not be used.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imrt_core.dicom import SeriesFiles, find_series, read_image
from imrt_core.patient import IdentityError, InputRefusedError, PatientIdentity

from .course_record import SetupImage, SetupRecord, write_record
from .errors import CourseError
from .files import copy_tree, disk_errors, make_folder, move_tree, sha256_of_tree
from .home import incoming_folder
from .ledger.ledger import now, open_ledger
from .privacy import without_identity
from .quarantine import quarantine
from .store import CourseFolder, FractionFolder, courses, patient_key

#: A folder is looked at once nothing in it has changed for this long; a receiver writes slice after slice.
QUIET_S = 20.0
#: A series that is still incomplete after this long without a change goes to quarantine.
GIVE_UP_S = 900.0


@dataclass(frozen=True)
class Delivery:
    """One folder below ``incoming``.

    Parameters
    ----------
    path : Path
        The folder.
    quiet_s : float
        Seconds since anything in it changed.
    """

    path: Path
    quiet_s: float


def deliveries() -> tuple[Delivery, ...]:
    """Return the folders in ``incoming``, in order of name; hidden names are still being written by convention."""
    folder = incoming_folder()
    found = []
    with disk_errors(folder, "read"):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            newest = max(p.stat().st_mtime for p in (path, *path.rglob("*")))
            found.append(Delivery(path, max(0.0, time.time() - newest)))
    return tuple(found)


def gather_loose_files(*, quiet_s: float) -> None:
    """Put files that lie in ``incoming`` itself into one folder per series, once all of them have been quiet.

    A file that is no DICOM gets a folder of its own, and goes the way of every delivery from there.
    """
    folder = incoming_folder()
    with disk_errors(folder, "sort"):
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        if not files or time.time() - max(p.stat().st_mtime for p in files) < quiet_s:
            return
        for path in files:
            series = find_series(path)
            name = series[0].series_uid if series and series[0].series_uid else path.name
            place = make_folder(folder / f"series-{hashlib.sha256(name.encode()).hexdigest()[:12]}")
            path.rename(place / path.name)


def the_image_series(path: Path) -> SeriesFiles:
    """Return the one image series of a folder.

    Raises
    ------
    InputRefusedError
        If there is none, more than one, or it is not complete; ``code`` is ``"series-incomplete"`` then.
    """
    series = [s for s in find_series(path) if s.modality in ("CT", "CBCT")]
    if len(series) != 1:
        raise InputRefusedError(
            "a setup folder must hold one CT series",
            found=f"{len(series)} CT series",
            expected="1",
            where=path.name,
            code="series-not-one",
        )
    if not series[0].complete:
        raise InputRefusedError(
            "the series is not complete",
            found=series[0].problem,
            expected="every slice, once",
            where=path.name,
            code="series-incomplete",
        )
    return series[0]


def acquisition_time(series: SeriesFiles) -> str:
    """Return when the first slice of a series was acquired, ISO 8601; empty if it does not say or is not complete."""
    return read_image(series.files[0]).acquired if series.complete else ""


def course_of(series: SeriesFiles) -> CourseFolder:
    """Return the course of the patient on the images.

    Raises
    ------
    IdentityError
        If no course or more than one is of this patient; the message names nobody.
    """
    key = patient_key(PatientIdentity(series.patient_id))
    found = [course for course in courses() if course.record().patient_key == key]
    if len(found) != 1:
        raise IdentityError(
            "a person must say which course this image belongs to",
            found=f"{len(found)} courses of this patient"
            + (f": {', '.join(c.course for c in found)}" if found else ""),
            expected="1",
            code="patient-unknown" if not found else "course-ambiguous",
        )
    return found[0]


def next_fraction(course: CourseFolder, acquired: str) -> FractionFolder:
    """Return the fraction that an image belongs to: the next undelivered one by clinic date.

    A second image of a day joins that day's fraction. A fraction of an earlier day counts as delivered unless it was
    recorded as not delivered.

    Parameters
    ----------
    course : CourseFolder
        The course.
    acquired : str
        Acquisition time of the image, ISO 8601.

    Raises
    ------
    CourseError
        Where a person must say: no date on the image, an image of the day whose fraction is already recorded as
        delivered, an image older than the last one, or no fraction left.
    """
    day = acquired[:10]
    if not day:
        raise _ask("the image has no acquisition date", found="none", course=course)
    last = 0
    for fraction in _touched(course):
        delivery = fraction.delivery()
        images = fraction.setup_record().governing.acquired[:10] if fraction.setup_file.is_file() else ""
        if delivery and delivery.delivered != "none":
            if images == day:
                raise _ask(
                    f"{fraction.key} is already recorded as delivered", found=f"another image of {day}", course=course
                )
        elif images == day or delivery:
            return fraction
        elif images > day:
            raise _ask(f"{fraction.key} already has a later image", found=f"an image of {day}", course=course)
        last = fraction.number
    planned = course.record().fractions
    if last >= planned:
        raise _ask("every planned fraction has had its day", found=f"an image of {day}", course=course)
    return course.fraction(last + 1)


def accept(
    source: Path,
    fraction: FractionFolder,
    *,
    acquired: str,
    series_uid: str,
    machine_isocentre_lps: tuple[float, float, float] | None = None,
    patient_position: str | None = None,
    move: bool = False,
    force: bool = False,
) -> SetupImage:
    """Keep a setup image in a fraction; it governs if it is the last one acquired.

    Outputs of the previous image are kept under ``superseded/``.

    Raises
    ------
    CourseError
        If the fraction was recorded as delivered, or has been computed from the same image already, without ``force``.
    """
    where = f"{fraction.course.course} {fraction.key}"
    if fraction.delivery() is not None and not force:
        raise CourseError(
            "the fraction is already recorded",
            found=f"delivered: {fraction.delivery().delivered}",  # type: ignore[union-attr]
            expected="a fraction without a record, or --force",
            where=where,
            code="fraction-recorded",
        )
    digest = sha256_of_tree(source)
    known = fraction.setup_record().images if fraction.setup_file.is_file() else ()
    if any(image.sha256 == digest for image in known) and fraction.is_complete and not force:
        raise CourseError(
            "the fraction has been computed from this image already",
            found="a report",
            expected="another image, or --force to run it again",
            where=where,
            code="fraction-exists",
        )
    image = SetupImage(
        folder=digest[:16],
        sha256=digest,
        series_uid=series_uid,
        acquired=acquired,
        received=now(),
        machine_isocentre_lps=machine_isocentre_lps,
        patient_position=patient_position,
    )
    _set_outputs_aside(fraction)
    place = fraction.setup / image.folder
    if not place.exists():
        (move_tree if move else copy_tree)(source, place)
    others = tuple(i for i in known if i.sha256 != digest)
    write_record(fraction.setup_file, SetupRecord(images=(*others, image)))
    with open_ledger() as ledger:
        ledger.add_event(
            "image-received", course=fraction.course.course, fraction=fraction.key, details={"sha256": digest}
        )
    return image


def refuse(fraction: FractionFolder, image: SetupImage, error: InputRefusedError) -> Path:
    """Take a refused image out of a fraction into quarantine, whole, and mark the course "needs a person"."""
    course = fraction.course.course
    place = quarantine(fraction.setup / image.folder, error, course=course, fraction=fraction.key)
    left = tuple(i for i in fraction.setup_record().images if i.sha256 != image.sha256)
    if left:
        write_record(fraction.setup_file, SetupRecord(images=left))
    else:
        fraction.setup_file.unlink()
    with open_ledger() as ledger:
        details = {**without_identity(error).as_dict(), "quarantine": place.name}
        ledger.add_event("image-refused", course=course, fraction=fraction.key, details=details)
        ledger.set_course_state(course, "needs a person", f"{fraction.key}: {error.message}")
    return place


def refuse_delivery(path: Path, error: InputRefusedError) -> Path:
    """Put a folder of ``incoming`` into quarantine, whole."""
    place = quarantine(path, error)
    with open_ledger() as ledger:
        ledger.add_event("delivery-refused", details={**without_identity(error).as_dict(), "quarantine": place.name})
    return place


def outstanding() -> tuple[FractionFolder, ...]:
    """Return the fractions that have an image but no report on it, of courses whose plan is there."""
    ready = (course for course in courses() if (course.path / "stages" / "baseline.npz").is_file())
    return tuple(f for course in ready for f in course.fractions() if not f.is_complete)


def _set_outputs_aside(fraction: FractionFolder) -> None:
    stages = fraction.path / "stages"
    if not stages.is_dir():
        return
    earlier = len(list((fraction.path / "superseded").glob("*"))) + 1
    for name in ("stages", "dicom", "report"):
        if (folder := fraction.path / name).is_dir():
            move_tree(folder, fraction.path / "superseded" / str(earlier) / name)


def _touched(course: CourseFolder) -> Sequence[FractionFolder]:
    names = {
        p.parent.name for name in ("setup.json", "delivered.json") for p in course.path.glob(f"fx[0-9][0-9]/{name}")
    }
    return [course.fraction(name) for name in sorted(names)]


def _ask(message: str, *, found: str, course: CourseFolder) -> CourseError:
    return CourseError(
        f"a person must say which fraction this is: {message}",
        found=found,
        expected="one undelivered fraction for the day of the image",
        where=course.course,
        code="fraction-ambiguous",
    )
