"""Where assets are kept: in the course store, one file per stage, without pickle, each written atomically.

``courses/<course>/stages/<asset>`` for planning assets, ``courses/<course>/fxNN/stages/<asset>`` for those of a
fraction. The stage functions read earlier fractions from the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import InputContext, OutputContext, UPathIOManager
from upath import UPath

from imrt_core.patient import Volume
from registration.itk import read_volume, write_volume

from .codec import read_npz, read_value_json, write_npz, write_value_json
from .files import write_atomically
from .home import home
from .partitions import course_and_fraction


class StageIOManager(UPathIOManager):
    """Places the output of a stage in the course store."""

    def __init__(self) -> None:
        super().__init__(base_path=UPath(home()))

    def get_path_for_partition(self, context: InputContext | OutputContext, path: UPath, partition: str) -> UPath:  # noqa: ARG002
        """Return the file of one asset of one course or fraction, without its suffix."""
        course, fraction = course_and_fraction(partition.replace("/", "|"))
        return UPath(home()) / "courses" / course / fraction / "stages" / path.name


class NpzIOManager(StageIOManager):
    """Domain objects with arrays, as ``.npz`` (see :mod:`pipelines.codec`)."""

    extension = ".npz"

    def dump_to_path(self, context: OutputContext, obj: Any, path: UPath) -> None:  # noqa: ARG002
        """Write an object."""
        write_npz(Path(str(path)), obj)

    def load_from_path(self, context: InputContext, path: UPath) -> Any:  # noqa: ARG002
        """Read an object."""
        return read_npz(Path(str(path)))


class JsonIOManager(StageIOManager):
    """Domain objects without arrays, as readable ``.json``."""

    extension = ".json"

    def dump_to_path(self, context: OutputContext, obj: Any, path: UPath) -> None:  # noqa: ARG002
        """Write an object."""
        write_value_json(Path(str(path)), obj)

    def load_from_path(self, context: InputContext, path: UPath) -> Any:  # noqa: ARG002
        """Read an object."""
        return read_value_json(Path(str(path)))


class MhaIOManager(StageIOManager):
    """A single :class:`~imrt_core.patient.Volume` as ``.mha``, readable by any image viewer."""

    extension = ".mha"

    def dump_to_path(self, context: OutputContext, obj: Volume, path: UPath) -> None:  # noqa: ARG002
        """Write a volume."""
        write_atomically(Path(str(path)), lambda temporary: write_volume(obj, temporary))

    def load_from_path(self, context: InputContext, path: UPath) -> Volume:  # noqa: ARG002
        """Read a volume."""
        return read_volume(Path(str(path)))
