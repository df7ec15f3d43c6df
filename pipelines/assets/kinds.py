"""What all assets of a kind have in common: partitions, the lock of the course, the group.

A stage of a fraction that cannot be carried out hands on a :class:`~pipelines.results.Withheld` with its reason, so
that the decision ("review") and the report always come to be; only an image that must not be used ends a run.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, AssetsDefinition, asset

from imrt_core.evaluate.accumulation import Accumulation
from registration import DayStructures, DeformableMatch

from ..partitions import course_partitions, fraction_partitions
from ..results import DayDensity, DayDose, GoalsOfDay, Withheld
from ..store import CourseFolder, FractionFolder

AssetFunction = Callable[..., Any]

if TYPE_CHECKING:
    MaybeDeformed = DeformableMatch | Withheld
    MaybeStructures = DayStructures | Withheld
    MaybeDensity = DayDensity | Withheld
    MaybeDose = DayDose | Withheld
    MaybeSummed = Accumulation | Withheld
    MaybeGoals = GoalsOfDay | Withheld
else:  # Dagster has no types for unions
    MaybeDeformed = MaybeStructures = MaybeDensity = MaybeDose = MaybeSummed = MaybeGoals = Any


def course_asset(io_manager_key: str) -> Callable[[AssetFunction], AssetsDefinition]:
    """Make a planning asset, one partition per course."""
    return asset(
        io_manager_key=io_manager_key,
        partitions_def=course_partitions,
        required_resource_keys={"course_lock"},
        group_name="course",
    )


def fraction_asset(
    io_manager_key: str, *, after: Sequence[AssetsDefinition] = ()
) -> Callable[[AssetFunction], AssetsDefinition]:
    """Make an asset of one fraction.

    Parameters
    ----------
    io_manager_key : str
        ``"npz"``, ``"json"`` or ``"mha"``.
    after : sequence of AssetsDefinition
        Assets that come first but are not handed in.
    """
    return asset(
        io_manager_key=io_manager_key,
        deps=list(after),
        partitions_def=fraction_partitions,
        required_resource_keys={"course_lock"},
        group_name="fraction",
    )


def fraction_of(context: AssetExecutionContext) -> FractionFolder:
    """Return the fraction that a run is about."""
    keys = context.partition_key.keys_by_dimension
    return CourseFolder(keys["course"]).fraction(keys["fraction"])


def named_three(what: str, names: tuple[str, str, str], values: tuple[float, float, float]) -> dict[str, float]:
    """Return three numbers as metadata, each under what it is."""
    return {f"{what} {name}": float(value) for name, value in zip(names, values, strict=True)}
