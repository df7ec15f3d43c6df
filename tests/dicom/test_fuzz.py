"""Damaged bytes are read or refused; nothing else is raised."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from imrt_core.dicom import (
    find_series,
    read_dose,
    read_image,
    read_plan,
    read_registration,
    read_structures,
    write_dose,
    write_image,
    write_plan,
    write_registration,
    write_structures,
)
from imrt_core.patient import InputRefusedError, RigidTransform

from .objects import day_image, dose, image, plan, structures

CT = image()
OBJECTS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "image": (lambda path: write_image(CT, path.parent / "ct")[0].rename(path), read_image),
    "structures": (lambda path: write_structures(structures(CT), image=CT, path=path), read_structures),
    "plan": (lambda path: write_plan(plan(CT), image=CT, path=path), read_plan),
    "dose": (lambda path: write_dose(dose(CT), image=CT, path=path), read_dose),
    "registration": (
        lambda path: write_registration(RigidTransform.identity(), fixed=CT, moving=day_image(CT), path=path),
        read_registration,
    ),
}


@pytest.mark.filterwarnings("ignore")  # pydicom's own, about character sets
@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("seed", range(2))
def test_damaged_bytes(tmp_path: Path, kind: str, seed: int) -> None:
    write, read = OBJECTS[kind]
    file = tmp_path / "object.dcm"
    write(file)
    read(file)
    whole = file.read_bytes()
    chance = random.Random(seed)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 20))):
            place = chance.randrange(min(len(data), 6000))
            data[place] = chance.choice((0, 255, 0x5C, 0x2D, chance.randrange(256)))
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        file.write_bytes(data)
        find_series(tmp_path)
        try:
            read(file)
        except InputRefusedError:
            continue
