"""Partitions: courses are added at run time, fractions are fx01 to fx60."""

from __future__ import annotations

from dagster import (
    DynamicPartitionsDefinition,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    StaticPartitionsDefinition,
)

from .course_record import MAX_FRACTIONS, check_course_id, fraction_key

COURSES = "courses"
course_partitions = DynamicPartitionsDefinition(name=COURSES)
fraction_partitions = MultiPartitionsDefinition(
    {
        "course": course_partitions,
        "fraction": StaticPartitionsDefinition([fraction_key(n) for n in range(1, MAX_FRACTIONS + 1)]),
    }
)


def partition_key(course: str, fraction: str | int) -> MultiPartitionKey:
    """Return the key of one fraction of one course; both are checked (Dagster accepts ``|``, ``/`` and ``..``)."""
    return MultiPartitionKey({"course": check_course_id(course), "fraction": fraction_key(fraction)})


def course_and_fraction(key: str) -> tuple[str, str]:
    """Split a partition key (``course|fxNN``, or a course alone) into course and fraction (empty for a course)."""
    course, _, fraction = str(key).partition("|")
    return check_course_id(course), fraction_key(fraction) if fraction else ""
