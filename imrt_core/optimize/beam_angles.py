"""Choosing gantry angles: beams are exchanged one by one while a coarse fluence optimisation gets better.

All candidates get an influence matrix on a coarse grid with large bixels. The equidistant arrangement is turned as a
whole; then every beam in turn is tried at angles beside its own, and at its own. Each try is a short fluence
optimisation that begins with the other beams' fluence so far and an even one for the beam in question, so that no
place wins by its iterations. What comes out is compared with the start once more, both from equal fluence, and the
start is kept unless it is worse. The surrogate has no leaves, no collapsed cone and no hard limits
(:mod:`imrt_core.optimize.from_goals` gives every hard goal an objective too). The search is local, as in [1]_; it does
not promise the best arrangement.

References
----------
.. [1] Craft D. Local beam angle optimization with linear programming and gradient search. Phys Med Biol 52 (2007)
   N127-N135.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose.influence import InfluenceMatrix
from imrt_core.geometry.raytrace import ray_volume
from imrt_core.machine import Machine
from imrt_core.patient import Goal, PlanError, ProtocolError, StructureSet, Volume

from .arrangement import BeamObstacles, EquidistantBeams, angle_between, arrange_beams
from .case import PlanningCase, build_case
from .objectives import Objective
from .plan_types import BeamDirection, PlanSettings
from .solver import equal_weights, optimize_fluence


@dataclass(frozen=True, kw_only=True)
class AngleSearch:
    """How angles are searched.

    Parameters
    ----------
    step_deg : float
        Distance of candidates.
    moves : tuple of int
        Candidates that a beam is tried at, in steps from its place, to both sides.
    apart_deg : float
        Least distance of two beams.
    grid_mm, bixel_mm : float
        Of the surrogate.
    iterations, final_iterations : int
        Of a try, and of the comparison at the end.
    sweeps : int
        Rounds over all beams; the search stops earlier when one changes nothing.
    time_limit_s : float
        No try begins after this. Without it the same inputs give the same angles; a search that it cuts short says so.
    """

    step_deg: float = 10.0
    moves: tuple[int, ...] = (1, 2, 4)
    apart_deg: float = 15.0
    grid_mm: float = 8.0
    bixel_mm: float = 10.0
    iterations: int = 15
    final_iterations: int = 60
    sweeps: int = 3
    time_limit_s: float = float("inf")

    def __post_init__(self) -> None:
        numbers = (self.step_deg, self.grid_mm, self.bixel_mm, self.iterations, self.final_iterations)
        if min(numbers) <= 0 or self.sweeps < 1 or self.apart_deg < 0 or not self.moves or min(self.moves) < 1:
            raise ProtocolError("the search of beam angles cannot be made", found=str(self))
        if not self.time_limit_s > 0:
            raise ProtocolError("a time limit must be positive", found=f"{self.time_limit_s} s")


@dataclass(frozen=True)
class AngleProgress:
    """Where the search is: tries so far, gantry angles of the arrangement that won last, and its objective then."""

    tries: int
    gantry_deg: tuple[float, ...]
    objective: float


@dataclass(frozen=True)
class AngleSelection:
    """What the search found.

    Parameters
    ----------
    beams : tuple of BeamDirection
        By ascending gantry angle.
    equidistant : tuple of BeamDirection
        Where it began.
    objective, equidistant_objective : float
        Of the surrogate, both from equal fluence and with the same iterations.
    tries : int
        Fluence optimisations.
    seconds : float
        Wall time, influence matrix included.
    timed_out : bool
        Whether the time limit cut it short.
    notes : tuple of str
        In words; also what the equidistant arrangement had to give up.
    """

    beams: tuple[BeamDirection, ...]
    equidistant: tuple[BeamDirection, ...]
    objective: float
    equidistant_objective: float
    tries: int
    seconds: float
    timed_out: bool
    notes: tuple[str, ...]


def select_angles(
    red: Volume,
    structures: StructureSet,
    machine: Machine,
    *,
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    fractions: int,
    start: EquidistantBeams,
    obstacles: BeamObstacles,
    objectives: Sequence[Objective] | None = None,
    search: AngleSearch | None = None,
    progress: Callable[[AngleProgress], None] | None = None,
) -> AngleSelection:
    """Choose the gantry angles of coplanar or equally inclined beams.

    Parameters
    ----------
    red, structures, machine, goals, prescription_gy, fractions, objectives
        As for :func:`imrt_core.optimize.make_plan`.
    start : EquidistantBeams
        Number of beams, collimator and table angle, and where the search begins.
    obstacles : BeamObstacles
        Angles that may not be used; also gives isocentre and patient position.
    search : AngleSearch, optional
        Candidates, surrogate, limits.
    progress : callable, optional
        Called with :class:`AngleProgress` after every try.

    Raises
    ------
    PlanError
        If nothing is free.
    ProtocolError, StructureError
        As :func:`imrt_core.optimize.make_plan`.
    """
    began = perf_counter()
    search = search or AngleSearch()
    arranged = arrange_beams(start, obstacles)
    candidates = _candidates(arranged.beams, start, obstacles, search.step_deg)
    surrogate = _Surrogate(
        build_case(
            red,
            ray_volume(red),
            structures,
            machine,
            goals=goals,
            objectives=objectives,
            limits=(),
            prescription_gy=prescription_gy,
            beams=candidates,
            isocentre_lps=obstacles.isocentre_lps,
            patient_position=obstacles.patient_position,
            settings=PlanSettings(
                optimisation_grid_mm=search.grid_mm, bixel_mm=search.bixel_mm, target_margin_mm=search.bixel_mm / 2
            ),
            dose_grid=None,
            background_gy=None,
        ),
        fractions,
    )
    angles = [beam.gantry_deg for beam in candidates]
    first = tuple(candidates.index(beam) for beam in arranged.beams)
    best = surrogate.optimised(first, {}, search.iterations)
    tries, timed_out = 1, False

    def report() -> None:
        if progress is not None:
            progress(AngleProgress(tries, tuple(angles[b] for b in best.beams), best.objective))

    for turned in _turned(first, angles, search.step_deg):
        if timed_out := perf_counter() - began > search.time_limit_s:
            break
        best = min(best, surrogate.optimised(turned, {}, search.iterations), key=lambda one: one.objective)
        tries += 1
        report()

    def allowed(place: int, others: Sequence[int]) -> bool:
        return all(angle_between(angles[place], angles[other]) >= search.apart_deg for other in others)

    for _ in range(search.sweeps):
        changed = False
        for slot in range(len(first)):
            if timed_out := perf_counter() - began > search.time_limit_s:
                break
            here, others = best.beams[slot], [b for n, b in enumerate(best.beams) if n != slot]
            places = [p for p in _beside(here, angles, search) if p not in others and allowed(p, others)]
            found = []
            kept = {beam: weights for beam, weights in best.weights.items() if beam != here}
            for place in (here, *places):
                beams = tuple(place if n == slot else b for n, b in enumerate(best.beams))
                found.append(surrogate.optimised(beams, kept, search.iterations))
                tries += 1
                report()
            better = min(found, key=lambda one: one.objective)  # the first of equals: where it was
            changed |= better.beams != best.beams
            best = better
        if timed_out or not changed:
            break
    before = surrogate.optimised(first, {}, search.final_iterations).objective
    after = surrogate.optimised(best.beams, {}, search.final_iterations).objective
    chosen = best.beams if after < before else first
    directions = tuple(sorted((candidates[b] for b in chosen), key=lambda beam: beam.gantry_deg))
    listed = ", ".join(f"{beam.gantry_deg:g}°" for beam in directions)
    notes = (
        f"Gantry angles chosen: {listed} (coarse objective {min(after, before):.4g}, equidistant {before:.4g}).",
        *(("The time limit cut the search of beam angles short.",) if timed_out else ()),
        *arranged.notes,
    )
    return AngleSelection(
        beams=directions,
        equidistant=arranged.beams,
        objective=min(after, before),
        equidistant_objective=before,
        tries=tries + 2,
        seconds=perf_counter() - began,
        timed_out=timed_out,
        notes=notes,
    )


@dataclass(frozen=True, eq=False)
class _Try:
    """An arrangement (candidate numbers) with its fluence and objective."""

    beams: tuple[int, ...]
    weights: dict[int, NDArray[np.float64]]
    objective: float


class _Surrogate:
    """Fluence optimisation for any subset of the candidates."""

    def __init__(self, case: PlanningCase, fractions: int) -> None:
        if not isinstance(case.matrix, InfluenceMatrix):
            raise PlanError("the search needs the matrix beam by beam", found=type(case.matrix).__name__)
        self.case, self.matrix, self.fractions = case, case.matrix, fractions

    def optimised(self, beams: tuple[int, ...], start: dict[int, NDArray[np.float64]], iterations: int) -> _Try:
        matrix = replace(self.matrix, blocks=tuple(self.matrix.blocks[b] for b in beams))
        initial = None
        if start:
            mean = float(np.mean(np.concatenate(list(start.values()))))
            initial = np.concatenate([start.get(b, np.full(len(self.case.bixels_mm[b]), mean)) for b in beams])
        level = equal_weights(
            matrix,
            self.case.objectives,
            structures=self.case.voxels.sets,
            course_gy_per_matrix_gy=self.fractions,
        )
        found = optimize_fluence(
            matrix,
            self.case.objectives,
            structures=self.case.voxels.sets,
            course_gy_per_matrix_gy=self.fractions,
            initial_weights=level if initial is None else initial,
            maximum_weights=PlanSettings().peak_fluence * level,
            max_iterations=iterations,
            tolerance=1e-6,
        )
        parts = np.split(found.weights, np.cumsum([len(self.case.bixels_mm[b]) for b in beams])[:-1])
        return _Try(beams, dict(zip(beams, parts, strict=True)), found.objective)


def _candidates(
    beams: Sequence[BeamDirection], start: EquidistantBeams, obstacles: BeamObstacles, step_deg: float
) -> tuple[BeamDirection, ...]:
    """Return free angles by ascending gantry angle, those of the start among them."""
    lattice = (start.start_deg + np.arange(0.0, 360.0 - 1e-6, step_deg)) % 360.0
    taken = [beam.gantry_deg for beam in beams]
    free = [
        replace(beams[0], gantry_deg=float(angle))
        for angle in lattice
        if min(angle_between(angle, other) for other in taken) > 1e-6
        and obstacles.is_free(float(angle), start.table_deg)
    ]
    return tuple(sorted([*beams, *free], key=lambda beam: beam.gantry_deg))


def _turned(first: tuple[int, ...], angles: Sequence[float], step_deg: float) -> list[tuple[int, ...]]:
    """Return the whole arrangement turned by every step up to its even spacing, on the nearest candidates."""
    found = []
    for turn in np.arange(step_deg, 360.0 / len(first) - 1e-6, step_deg):
        wishes = [angles[beam] + turn for beam in first]
        places = tuple(min(range(len(angles)), key=lambda n: angle_between(angles[n], w)) for w in wishes)
        if len(set(places)) == len(places):
            found.append(places)
    return found


def _beside(here: int, angles: Sequence[float], search: AngleSearch) -> list[int]:
    """Return the candidates nearest to each move from a place, without the place."""
    found = []
    for move in search.moves:
        for sign in (1, -1):
            wish = angles[here] + sign * move * search.step_deg
            nearest = min(range(len(angles)), key=lambda n: angle_between(angles[n], wish))
            if nearest != here and angle_between(angles[nearest], wish) <= search.step_deg / 2 + 1e-6:
                found.append(nearest)
    return list(dict.fromkeys(found))
