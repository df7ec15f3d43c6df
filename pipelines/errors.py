"""Refusals that belong to the orchestration: the disk, the course store, another process at work."""

from __future__ import annotations

from imrt_core.patient import InputRefusedError


class StorageError(InputRefusedError):
    """A disk or folder that refuses to write, or a stored file that cannot be read back."""

    default_code = "storage-refused"


class CourseError(InputRefusedError):
    """A course or fraction that does not exist, exists already, or is not in the state that is needed."""

    default_code = "course-unusable"


class BusyError(InputRefusedError):
    """Another process works on the same course."""

    default_code = "course-busy"
