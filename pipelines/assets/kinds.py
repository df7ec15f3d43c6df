"""What all assets of a kind have in common: partitions, the lock of the course, the group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dagster import AssetsDefinition, asset

from ..partitions import course_partitions, fraction_partitions

AssetFunction = Callable[..., Any]


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
