"""Entry points that other people build on keep their signatures; a change is made here on purpose or not at all.

``python -m tests.project.test_stable_api`` writes the listing anew.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

LISTING = Path(__file__).with_name("stable_api.txt")
ENTRY_POINTS = (
    "imrt_core.dicom.read_course",
    "imrt_core.dose.influence_matrix",
    "imrt_core.dose.collapsed_cone_dose",
    "imrt_core.dose.plan_dose",
    "imrt_core.optimize.optimize_fluence",
    "imrt_core.evaluate.dvh",
    "imrt_core.evaluate.gamma",
    "registration.register_rigid",
    "registration.register_deformable",
    "registration.couch_shift",
    "registration.warp",
)


def _signature(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    return f"{name}{inspect.signature(getattr(importlib.import_module(module), attribute))}"


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_signature_is_the_committed_one(name: str) -> None:
    listed = dict(line.split("(", 1) for line in LISTING.read_text().splitlines())
    assert _signature(name).split("(", 1)[1] == listed[name]


if __name__ == "__main__":
    LISTING.write_text("".join(f"{_signature(name)}\n" for name in ENTRY_POINTS))
