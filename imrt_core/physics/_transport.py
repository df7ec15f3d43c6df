"""Monte Carlo transport of photons and electrons in unbounded water around one photon interaction.

Photons: Klein-Nishina, photoelectric absorption, pair production; analogue. Electrons: condensed history with
continuous slowing down, elastic deflection whose mean cosine is exact per step, bremsstrahlung photons with a 1/k
spectrum. Not modelled: coherent scattering, binding, delta rays, energy straggling; together below 1 mm and 1 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

from .water import ELECTRON_MASS_MEV

#: Histories that share a stream of random numbers.
BATCH = 2000
#: Photons and electrons below these energies deposit where they are, MeV.
PHOTON_CUT_MEV = 0.01
ELECTRON_CUT_MEV = 0.02
_BREMSSTRAHLUNG_CUT_MEV = 0.02
_MAX_STACK = 64


@kernel(fastmath=False)
def _uniform(state: Any) -> float:
    """Return the next number in (0, 1): xorshift64* (Vigna, ACM Trans Math Softw 42 (2016) 30)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    value = (x * np.uint64(2685821657736338717)) >> np.uint64(11)
    return (float(value) + 0.5) * (1.0 / 9007199254740992.0)


@kernel(fastmath=False)
def seed_stream(number: int) -> Any:
    """Return a state for one batch: splitmix64 of its number."""
    z = np.uint64(number + 1) * np.uint64(11400714819323198485)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(13787848793156543929)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(10723151780598845931)
    state = np.empty(1, dtype=np.uint64)
    state[0] = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    return state


@kernel(fastmath=False)
def _turned(u: float, v: float, w: float, cosine: float, azimuth: float) -> Any:
    """Return a direction turned by a polar angle and an azimuth."""
    sine = np.sqrt(max(0.0, 1.0 - cosine * cosine))
    a, b = sine * np.cos(azimuth), sine * np.sin(azimuth)
    across = np.sqrt(u * u + v * v)
    if across < 1e-9:
        return a, b * np.sign(w), cosine * np.sign(w)
    return (
        u * cosine + (u * w * a - v * b) / across,
        v * cosine + (v * w * a + u * b) / across,
        w * cosine - across * a,
    )


@kernel(fastmath=False)
def _compton(energy: float, state: Any) -> Any:
    """Return scattered photon energy, its cosine and the electron's cosine (Butcher & Messel's mixture, rejection)."""
    k = energy / ELECTRON_MASS_MEV
    least = 1.0 / (1.0 + 2.0 * k)
    first, second = np.log(1.0 + 2.0 * k), 0.5 * (1.0 - least * least)
    while True:
        if _uniform(state) * (first + second) < first:
            share = np.exp(-first * _uniform(state))
        else:
            share = np.sqrt(least * least + (1.0 - least * least) * _uniform(state))
        t = (1.0 - share) / (k * share)
        sine2 = t * (2.0 - t)
        if _uniform(state) < 1.0 - share * sine2 / (1.0 + share * share):
            break
    scattered = energy * share
    cosine = 1.0 - t
    electron = energy - scattered
    momentum = np.sqrt(electron * (electron + 2.0 * ELECTRON_MASS_MEV))
    forward = (energy - scattered * cosine) / momentum if momentum > 0 else 1.0
    return scattered, cosine, min(max(forward, -1.0), 1.0)


@kernel(fastmath=False)
def _table(table: Any, row: int, energy: float, log_first: float, per_log: float) -> Any:
    """Interpolate a row of the table over log energy."""
    position = (np.log(energy) - log_first) * per_log
    i = min(max(int(position), 0), table.shape[1] - 2)
    f = position - i
    return table[row, i] + f * (table[row, i + 1] - table[row, i])


@kernel(fastmath=False)
def _score(tally: Any, scatter: int, x: float, y: float, z: float, energy: float, radii2: Any, cosines: Any) -> None:
    """Add an energy to the bin (scatter, polar angle, radius) of a place; what lies beyond the last radius is lost."""
    r2 = x * x + y * y + z * z
    if r2 >= radii2[-1]:
        return
    shell = np.searchsorted(radii2, r2, side="right") - 1
    cosine = z / np.sqrt(r2) if r2 > 0 else 1.0
    # Cosines fall from 1 to −1.
    ring = np.searchsorted(-cosines, -cosine, side="right") - 1
    tally[scatter, min(max(ring, 0), cosines.shape[0] - 2), max(shell, 0)] += energy


@kernel(fastmath=False)
def _electron(
    energy: float,
    x: float,
    y: float,
    z: float,
    u: float,
    v: float,
    w: float,
    scatter: int,
    tally: Any,
    radii2: Any,
    cosines: Any,
    table: Any,
    log_first: float,
    per_log: float,
    stack: Any,
    held: int,
    state: Any,
) -> int:
    """Slow one electron down; bremsstrahlung photons go on the stack. Return the number of photons on it."""
    while energy > ELECTRON_CUT_MEV:
        stopping = _table(table, 3, energy, log_first, per_log)
        transport = _table(table, 5, energy, log_first, per_log)
        # A step loses 5 % of the energy, or deflects by a mean cosine of 0.9, whichever is shorter.
        step = min(0.05 * energy / stopping, 0.1 / transport)
        lost = step * stopping
        half = 0.5 * step
        x, y, z = x + half * u, y + half * v, z + half * w
        _score(tally, scatter, x, y, z, lost, radii2, cosines)
        # Von Mises-Fisher distribution of the direction, its mean cosine that of elastic scattering, exp(−step/λ₁).
        sharpness = 1.0 / (1.0 - np.exp(-step * transport))
        r = _uniform(state)
        cosine = max(1.0 + np.log(r + (1.0 - r) * np.exp(-2.0 * sharpness)) / sharpness, -1.0)
        u, v, w = _turned(u, v, w, cosine, 2.0 * np.pi * _uniform(state))
        x, y, z = x + half * u, y + half * v, z + half * w
        if energy > 2 * _BREMSSTRAHLUNG_CUT_MEV:
            radiated = step * _table(table, 4, energy, log_first, per_log)
            average = (energy - _BREMSSTRAHLUNG_CUT_MEV) / np.log(energy / _BREMSSTRAHLUNG_CUT_MEV)
            if _uniform(state) < radiated / average and held < _MAX_STACK:
                photon = _BREMSSTRAHLUNG_CUT_MEV * (energy / _BREMSSTRAHLUNG_CUT_MEV) ** _uniform(state)
                photon = min(photon, energy - lost)
                stack[held, 0], stack[held, 1], stack[held, 2], stack[held, 3] = photon, x, y, z
                stack[held, 4], stack[held, 5], stack[held, 6] = u, v, w
                held += 1
                energy -= photon
        energy -= lost
    if energy > 0:
        _score(tally, scatter, x, y, z, energy, radii2, cosines)
    return held


@kernel(parallel=True, fastmath=False)
def point_kernel(
    energy: float, batches: int, radii2: Any, cosines: Any, table: Any, log_first: float, per_log: float, tally: Any
) -> None:
    """Force one interaction of a photon at the origin, flying along +z, and score where its energy goes.

    ``table`` rows: Compton, photoelectric, pair (cm²/g), collision and radiative stopping power, 1/λ₁, over log energy.
    ``tally`` (batches, 2, rings, shells): energy of the electrons of this interaction, and of all later photons.
    """
    for batch in prange(batches):
        state = seed_stream(batch)
        stack = np.empty((_MAX_STACK, 7))
        for _ in range(BATCH):
            stack[0, 0] = energy
            stack[0, 1:6] = 0.0
            stack[0, 6] = 1.0
            held, first = 1, True
            while held > 0:
                held -= 1
                e, x, y, z = stack[held, 0], stack[held, 1], stack[held, 2], stack[held, 3]
                u, v, w = stack[held, 4], stack[held, 5], stack[held, 6]
                scatter = 0 if first else 1
                if e < PHOTON_CUT_MEV:
                    _score(tally[batch], scatter, x, y, z, e, radii2, cosines)
                    continue
                compton = _table(table, 0, e, log_first, per_log)
                absorbed = _table(table, 1, e, log_first, per_log)
                pair = _table(table, 2, e, log_first, per_log) if e > 2 * ELECTRON_MASS_MEV else 0.0
                total = compton + absorbed + pair
                if not first:
                    path = -np.log(_uniform(state)) / total
                    x, y, z = x + path * u, y + path * v, z + path * w
                    if x * x + y * y + z * z > radii2[-1]:
                        continue
                first = False
                choice = _uniform(state) * total
                azimuth = 2.0 * np.pi * _uniform(state)
                args = (scatter, tally[batch], radii2, cosines, table, log_first, per_log, stack)
                if choice < compton:
                    photon, cosine, forward = _compton(e, state)
                    eu, ev, ew = _turned(u, v, w, forward, azimuth + np.pi)
                    pu, pv, pw = _turned(u, v, w, cosine, azimuth)
                    stack[held, 0], stack[held, 1], stack[held, 2], stack[held, 3] = photon, x, y, z
                    stack[held, 4], stack[held, 5], stack[held, 6] = pu, pv, pw
                    held = _electron(e - photon, x, y, z, eu, ev, ew, *args, held + 1, state)
                elif choice < compton + absorbed:
                    held = _electron(e, x, y, z, u, v, w, *args, held, state)
                else:
                    kinetic = e - 2.0 * ELECTRON_MASS_MEV
                    share = _uniform(state)
                    for part in (share, 1.0 - share):
                        lepton = kinetic * part
                        # Mean angle of pair electrons: the electron mass over the photon energy.
                        angle = min(ELECTRON_MASS_MEV / e * np.sqrt(-np.log(_uniform(state))), np.pi)
                        eu, ev, ew = _turned(u, v, w, np.cos(angle), azimuth)
                        azimuth += np.pi
                        held = _electron(lepton, x, y, z, eu, ev, ew, *args, held, state)
                    # The positron annihilates; its path is short against the photons'.
                    cosine = 2.0 * _uniform(state) - 1.0
                    pu, pv, pw = _turned(u, v, w, cosine, 2.0 * np.pi * _uniform(state))
                    for sign in (1.0, -1.0):
                        stack[held, 0] = ELECTRON_MASS_MEV
                        stack[held, 1], stack[held, 2], stack[held, 3] = x, y, z
                        stack[held, 4], stack[held, 5], stack[held, 6] = sign * pu, sign * pv, sign * pw
                        held += 1
