"""Rigid success on a simulated cohort: every OpenKBP patient and digital patients, N random set-ups each.

``python -m benchmarks.registration_cohort [NPZ_DIR] [--shifts 20] [--seed 0] [--json] [--save FILE]``

Each case is a simulated cone-beam CT (cupping, streaks, noise, truncated field of view, anatomy at a random fraction of
the course) of a patient who lies off by up to 20 mm along a random direction and turned by up to 4° about another.
Errors against the true bony transform: distance at the planned isocentre, and the angle of the residual rotation.
Success: under 1 mm and 0.5°. ``recognised`` counts whether the match's own verdict knew: ``passed`` of successes, and
not passed of failures. Beside, each planning CT is matched with ``--others`` images of other patients: these must not
pass.

With ``--save`` the file is written after every patient, and patients that it holds are not computed again. No open set
holds a planning CT and a cone-beam CT of the same patient: the images are simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from benchmarks.openkbp import patient_data
from benchmarks.openkbp_data import load
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.patient import PatientImage, RegistrationError, RigidTransform, StructureSet, Volume
from imrt_core.phantom import (
    SITES,
    HeadNeckChange,
    Imager,
    SimulatedFraction,
    bone_from_hu,
    build_patient,
    daily_image,
    simulate_fraction,
)
from registration import register_rigid
from registration.precompile import compile_kernels

SUCCESS_MM, SUCCESS_DEG = 1.0, 0.5
MOST_MM, MOST_DEG = 20.0, 4.0
_COURSE = 35


@dataclass(frozen=True)
class FixedSetup:
    """A set-up error that is given, in place of :class:`imrt_core.phantom.SetupError`."""

    offset_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return offset and rotation; nothing is drawn."""
        del rng
        return np.asarray(self.offset_mm), np.asarray(self.rotation_deg)

    @classmethod
    def random(cls, rng: np.random.Generator) -> FixedSetup:
        """Uniform length up to 20 mm and angle up to 4°, along and about random directions."""
        vectors = rng.normal(size=(2, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        offset = vectors[0] * rng.uniform(0, MOST_MM)
        rz, rx, ry = Rotation.from_rotvec(vectors[1] * np.deg2rad(rng.uniform(0, MOST_DEG))).as_euler(
            "ZXY", degrees=True
        )
        return cls((float(offset[0]), float(offset[1]), float(offset[2])), (float(rx), float(ry), float(rz)))


@dataclass(frozen=True)
class Case:
    """One match. ``expected`` is false where the image is of another patient."""

    expected: bool
    error_mm: float
    error_deg: float
    passed: bool
    seconds: float
    reason: str = ""

    @property
    def success(self) -> bool:
        """Whether the match is within 1 mm and 0.5°."""
        return self.error_mm < SUCCESS_MM and self.error_deg < SUCCESS_DEG


class Person:
    """Who is imaged: from an OpenKBP file, or a digital patient."""

    def __init__(self, name: str, npz: Path | None = None, site: str = "", seed: int = 0) -> None:
        self.name, self.npz, self.site, self.seed = name, npz, site, seed
        self._data: tuple[PatientImage, StructureSet, np.ndarray[Any, Any]] | None = None
        self._digital = None if npz is not None else build_patient(site, seed=seed)

    @property
    def planning(self) -> Volume:
        """The planning CT."""
        return self._digital.planning.ct.hu if self._digital else self._read()[0].hu

    def image(self, setup: FixedSetup, *, fraction: int, seed: int) -> SimulatedFraction:
        """Image of a fraction out of 35."""
        if self._digital:
            return simulate_fraction(
                self._digital,
                fraction,
                fractions=_COURSE,
                seed=seed,
                setup=setup,  # type: ignore[arg-type]
            )
        image, structures, bone = self._read()
        return daily_image(
            image,
            structures,
            fraction,
            fractions=_COURSE,
            bone=bone,
            isocentre_lps=target_isocentre_lps(structures),
            change=HeadNeckChange(),
            seed=seed,
            setup=setup,  # type: ignore[arg-type]
            imager=Imager(),
        )

    def _read(self) -> tuple[PatientImage, StructureSet, np.ndarray[Any, Any]]:
        if self._data is None:
            assert self.npz is not None
            patient = load(self.npz)
            image, structures = patient_data(patient)
            self._data = image, structures, bone_from_hu(patient.hu)
        return self._data


def cases_of(person: Person, others: list[Person], *, shifts: int, wrong: int, seed: int) -> Iterator[Case]:
    """Match one planning CT with its own images, and with images of others."""
    number = sum(person.name.encode())
    rng = np.random.default_rng([seed, number])
    for n in range(shifts):
        day = person.image(FixedSetup.random(rng), fraction=int(rng.integers(1, _COURSE + 1)), seed=1000 * seed + n)
        yield _matched(person.planning, day, expected=True)
    for other in [others[int(i)] for i in rng.permutation(len(others))[:wrong]]:
        day = other.image(FixedSetup.random(rng), fraction=1, seed=seed)
        yield _matched(person.planning, day, expected=False)


def error_of(found: RigidTransform, truth: RigidTransform, point: tuple[float, float, float]) -> tuple[float, float]:
    """Return (mm at a planning point, degrees) between two transforms."""
    distance = float(np.linalg.norm(found.apply(point) - truth.apply(point)))
    return distance, float(np.degrees(Rotation.from_matrix(found.rotation.T @ truth.rotation).magnitude()))


def _matched(planning: Volume, day: SimulatedFraction, *, expected: bool) -> Case:
    try:
        match = register_rigid(planning, day.image.hu, centre_lps=day.planned_isocentre_lps if expected else None)
    except RegistrationError as error:
        return Case(expected, float("inf"), float("inf"), False, 0.0, f"refused: {error}"[:200])
    mm, deg = float("inf"), float("inf")
    if expected:
        mm, deg = error_of(match.moving_from_fixed, day.moving_from_fixed, day.planned_isocentre_lps)
    return Case(expected, mm, deg, match.quality.passed, match.seconds, "; ".join(match.quality.reasons)[:200])


def summary(cases: list[Case]) -> dict[str, Any]:
    """Return the figures of a list of cases."""
    own, wrong = [c for c in cases if c.expected], [c for c in cases if not c.expected]

    def median(values: list[float]) -> float | None:
        return finite(float(np.median(values))) if values else None

    def finite(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return {
        "cases": len(own),
        "success_percent": 100.0 * sum(c.success for c in own) / len(own) if own else None,
        "median_mm": median([c.error_mm for c in own]),
        "median_deg": median([c.error_deg for c in own]),
        "max_mm": finite(max((c.error_mm for c in own), default=np.inf)),
        "max_deg": finite(max((c.error_deg for c in own), default=np.inf)),
        "passed_of_successes": sum(c.passed for c in own if c.success),
        "failures_that_passed": sum(c.passed for c in own if not c.success),
        "other_patients": len(wrong),
        "other_patients_that_passed": sum(c.passed for c in wrong),
        "median_seconds": median([c.seconds for c in own]),
    }


def _read(path: Path | None, settings: dict[str, Any]) -> dict[str, list[Case]]:
    if path is None or not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    if earlier.get("settings") != settings:
        return {}
    return {name: [_case(c) for c in cases] for name, cases in earlier["patients"].items()}


def _case(stored: dict[str, Any]) -> Case:
    missing = {key: float("inf") for key in ("error_mm", "error_deg") if stored[key] is None}
    return Case(**{**stored, **missing})


def _answer(done: dict[str, list[Case]], settings: dict[str, Any]) -> dict[str, Any]:
    def plain(case: Case) -> dict[str, Any]:
        return {k: None if v == float("inf") else v for k, v in asdict(case).items()}

    return {
        "schema_version": 1,
        "settings": settings,
        "limits": {"success_mm": SUCCESS_MM, "success_deg": SUCCESS_DEG, "median_mm": 0.2, "median_deg": 0.1},
        "all": summary([case for cases in done.values() for case in cases]),
        "by_patient": {name: summary(cases) for name, cases in done.items()},
        "patients": {name: [plain(case) for case in cases] for name, cases in done.items()},
    }


def _table(answer: dict[str, Any]) -> Table:
    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    table = Table(title="Rigid match on simulated cone-beam CT")
    for column in ("patient", "success %", "median mm / °", "max mm / °", "passed", "others passed", "s"):
        table.add_column(column, justify="right")
    for name, figures in (*answer["by_patient"].items(), ("all", answer["all"])):
        table.add_row(
            name,
            f"{figures['success_percent']:.1f}",
            f"{text(figures['median_mm'])} / {text(figures['median_deg'])}",
            f"{text(figures['max_mm'])} / {text(figures['max_deg'])}",
            f"{figures['passed_of_successes']}/{figures['cases']}",
            f"{figures['other_patients_that_passed']}/{figures['other_patients']}",
            f"{figures['median_seconds']:.1f}",
        )
    return table


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registration_cohort", description=__doc__)
    parser.add_argument("npz_dir", type=Path, nargs="?", help="folder of OpenKBP .npz files")
    parser.add_argument("--shifts", type=int, default=20)
    parser.add_argument("--others", type=int, default=3, help="images of other patients per planning CT")
    parser.add_argument("--digital", type=int, default=2, help="digital patients of each site")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here; patients in it are kept")
    options = parser.parse_args()
    people = [Person(npz.stem, npz) for npz in sorted(options.npz_dir.glob("*.npz"))] if options.npz_dir else []
    people += [Person(f"{site} {n}", site=site, seed=n) for site in SITES for n in range(options.digital)]
    if not people:
        parser.error("no patients: give a folder of .npz files or --digital")
    settings = {"shifts": options.shifts, "others": options.others, "seed": options.seed}
    done = _read(options.save, settings)
    compile_kernels()
    progress = Console(stderr=True)
    for person in people:
        if person.name not in done:
            others = [other for other in people if other is not person]
            done[person.name] = list(
                cases_of(person, others, shifts=options.shifts, wrong=options.others, seed=options.seed)
            )
            progress.print(f"{person.name}: {summary(done[person.name])}")
            if options.save:
                options.save.parent.mkdir(parents=True, exist_ok=True)
                options.save.write_text(json.dumps(_answer(done, settings), indent=1) + "\n")
    answer = _answer(done, settings)
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        Console().print(_table(answer))


if __name__ == "__main__":
    main()
