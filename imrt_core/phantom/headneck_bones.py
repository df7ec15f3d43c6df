"""Bones, teeth and cartilage of the head-and-neck patient.

Atlas axes are LPS mm: x to the patient's left, y to posterior, z to superior; z = 0 is about the level of the
mandible's angle (C2/C3), y = 0 the anterior part of the cervical vertebral bodies.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from .canvas import Canvas
from .shapes import Level, Space, ellipsoid, stack, tube

#: Centre of the vertebral bodies along the spine: (z, y).
_SPINE = PchipInterpolator([-170, -125, -85, -50, -25, 0, 22, 40], [44, 27, 12, 3, 0, 1, 4, 8])
_VERTEBRA_PITCH_MM = 17.5
BRAIN_CENTRE = (0.0, 0.0, 92.0)
BRAIN_SEMI = (68.0, 87.0, 71.0)


def spine_y(z_mm: float) -> float:
    """Return y of the vertebral bodies' centre at a level."""
    return float(_SPINE(z_mm))


def cord_y(z_mm: float) -> float:
    """Return y of the spinal cord's centre at a level: the middle of the canal behind the body."""
    return spine_y(z_mm) + 16.5


def skull_floor_mm(space: Space) -> np.ndarray:
    """Return z − floor on the whole grid: posterior, middle and anterior cranial fossa, in mm."""
    y = np.arange(-120.0, 121.0, 1.0)
    floor = PchipInterpolator([-120, -60, -42, -25, 2, 14, 30, 60, 121], [74, 72, 66, 48, 46, 36, 31, 34, 40])(y)
    lut = floor.astype(np.float32)
    # The middle fossae reach further forward at the temporal poles than in the midline, where the sella stands.
    forward = 20 * np.exp(-(((np.abs(space.x) - 36) / 16) ** 2)) - 4 * np.exp(-((space.x / 14) ** 2))
    index = np.clip(np.rint(space.y + forward + 120), 0, len(lut) - 1).astype(np.int32)
    return np.asarray(space.z - lut[index], dtype=np.float32)


def brain_cavity(space: Space) -> Level:
    """Return the inside of the skull above its floor."""
    return ellipsoid(space, BRAIN_CENTRE, BRAIN_SEMI).cut_by(-skull_floor_mm(space))


def paint_skull(canvas: Canvas) -> None:
    """Paint vault, base, face bones and air cells."""
    space = canvas.space
    outer = ellipsoid(space, BRAIN_CENTRE, [s + 6.5 for s in BRAIN_SEMI])
    floor = skull_floor_mm(space)
    # The vault and a floor plate about 4 mm thick; the face below is painted on its own.
    shell = outer.cut_by(-floor - np.float32(4.0))
    canvas.paint(shell, 1150, texture_hu=50)
    canvas.paint(outer.grown(-2.0).cut_by(-floor - np.float32(2.0)), 520, texture_hu=70)
    canvas.paint(outer.grown(-4.5).cut_by(-floor), 1150, texture_hu=50)
    canvas.bone[shell.slices] |= shell.mm < 0
    for side in (1.0, -1.0):
        petrous = tube(
            space, [(side * 58, 18, 40), (side * 34, 6, 46), (side * 13, -8, 48)], [(9, 12, 13), (8, 9, 9), (6, 7, 7)]
        )
        canvas.paint_bone(petrous, marrow_hu=850, cortex_hu=1350, cortex_mm=1.5)
        mastoid = ellipsoid(space, (side * 60, 28, 30), (9, 12, 17))
        canvas.paint_bone(mastoid, marrow_hu=100, cortex_hu=900)
        for dx, dy, dz in ((0, -3, 4), (1, 4, -3), (-2, 2, 7), (0, -2, -7), (2, 6, 4)):
            canvas.paint(ellipsoid(space, (side * (60 + dx), 28 + dy, 30 + dz), (3.0, 3.5, 3.5)), -650, texture_hu=60)
        canal = tube(space, [(side * 76, 4, 43), (side * 52, 4, 44)], (3.2, 3.2, 3.5))
        canvas.paint(canal, -950)
        zygoma = tube(
            space,
            [(side * 40, -74, 40), (side * 56, -62, 40), (side * 66, -38, 42), (side * 65, -8, 43)],
            [(8, 7, 9), (6, 7, 8), (3, 6, 5), (3, 6, 4)],
        )
        canvas.paint_bone(zygoma, marrow_hu=450, cortex_mm=1.8)
        pterygoid = tube(space, [(side * 13, -28, 46), (side * 14, -30, 20)], (2.5, 8, 5))
        canvas.paint_bone(pterygoid, marrow_hu=600, cortex_mm=1.5)
        _paint_orbit_and_antrum(canvas, side)
    clivus = tube(space, [(0, -10, 52), (0, 2, 42), (0, 12, 34)], [(12, 8, 6), (10, 5, 5), (9, 4, 3)])
    canvas.paint_bone(clivus, marrow_hu=420, cortex_mm=1.8)
    _paint_nose(canvas)
    foramen = stack(space, [(22, 0, 26, 13, 15, 15), (44, 0, 26, 14, 15, 15)])
    canvas.paint(foramen, 20)
    canvas.bone[foramen.slices] &= ~(foramen.mm < 0)


def _paint_orbit_and_antrum(canvas: Canvas, side: float) -> None:
    space = canvas.space
    orbit = ellipsoid(space, (side * 31, -68, 61), (19, 26, 18), tilt_deg=side * 18, about="z")
    canvas.paint_bone(orbit.grown(2.0), marrow_hu=900, cortex_hu=900)
    canvas.paint(orbit, -95, texture_hu=10)
    opening = ellipsoid(space, (side * 33, -93, 61), (16, 12, 14))
    canvas.paint(opening, -60, texture_hu=10)
    for open_part in (orbit, opening):
        canvas.bone[open_part.slices] &= ~(open_part.mm < 0)
    globe = ellipsoid(space, (side * 32, -80, 61), (12.2, 12.2, 12.2))
    canvas.paint(globe.grown(0.8), 60)
    canvas.paint(globe, 12, texture_hu=3)
    canvas.paint(ellipsoid(space, (side * 32, -89, 61), (4.5, 2.2, 4.5)), 85)
    canvas.paint(tube(space, [(side * 30, -68, 61), (side * 15, -40, 60)], (2.2, 2.2, 2.2)), 38)
    for dx, dz in ((11, 0), (-10, 0), (0, 11), (0, -11)):
        muscle = tube(space, [(side * (31 + dx * 0.9), -74, 61 + dz), (side * 17, -44, 60 + dz * 0.3)], (2.2, 2.5, 2.2))
        canvas.paint(muscle, 48)
    antrum = ellipsoid(space, (side * 29, -66, 31), (13, 16, 15))
    canvas.paint_bone(antrum.grown(1.8), marrow_hu=700, cortex_hu=850)
    canvas.paint(antrum, -1000, texture_hu=0)


def _paint_nose(canvas: Canvas) -> None:
    space = canvas.space
    bridge = tube(space, [(0, -100, 62), (0, -108, 46)], (5, 4, 5))
    canvas.paint_bone(bridge, marrow_hu=500, cortex_mm=1.5)
    maxilla = tube(space, [(-30, -48, 12), (-24, -74, 12), (0, -86, 12), (24, -74, 12), (30, -48, 12)], (7, 7, 9))
    palate = ellipsoid(space, (0, -60, 17), (26, 26, 2.6))
    canvas.paint_bone(maxilla | palate, marrow_hu=480, cortex_mm=1.8)
    cavity = stack(space, [(18, 0, -62, 13, 30, 34), (40, 0, -60, 12, 38, 34), (64, 0, -58, 9, 34, 30)], exponent=2.5)
    canvas.paint_bone(cavity.grown(1.2), marrow_hu=300, cortex_hu=450)
    canvas.paint(cavity, -1000, texture_hu=0)
    for side in (1.0, -1.0):
        for z, reach in ((26, 6.5), (38, 6.0), (49, 4.5)):
            turbinate = tube(space, [(side * reach, -86, z), (side * reach, -42, z - 1)], (3.2, 4, 4))
            canvas.paint(turbinate, 45)
        for y, z in ((-70, 58), (-58, 60), (-47, 59)):
            canvas.paint(ellipsoid(space, (side * 8, y, z), (3.8, 5.2, 6)), -950)
    canvas.paint_bone(
        stack(space, [(18, 0, -62, 1.3, 30, 28), (64, 0, -60, 1.3, 34, 26)]), marrow_hu=250, cortex_hu=250
    )
    sphenoid = ellipsoid(space, (0, -21, 53), (13, 11, 9))
    canvas.paint_bone(sphenoid.grown(2.0), marrow_hu=700, cortex_hu=900)
    canvas.paint(sphenoid, -1000, texture_hu=0)
    frontal = ellipsoid(space, (0, -91, 82), (18, 4.2, 11))
    canvas.paint(frontal, -1000, texture_hu=0)


def mandible(space: Space) -> Level:
    """Return the mandible: body, angles, rami, condyles and coronoid processes."""
    arch = [(-46, -12, -14), (-42, -36, -22), (-30, -66, -29), (-15, -84, -32), (0, -89, -33)]
    arch += [(-x, y, z) for x, y, z in reversed(arch[:-1])]
    bone = tube(space, arch, [(5.5, 7, 13)] * 3 + [(6.5, 6.5, 13)] * 3 + [(5.5, 7, 13)] * 3)
    for side in (1.0, -1.0):
        ramus = tube(
            space,
            [(side * 46, -14, -14), (side * 48, -14, 6), (side * 50, -12, 22)],
            [(4.5, 14, 8), (4.2, 14, 9), (4, 13, 6)],
        )
        condyle = tube(space, [(side * 50, -4, 22), (side * 51, -1, 36)], [(4, 6, 5), (7.5, 4.5, 4.5)])
        coronoid = tube(space, [(side * 50, -22, 22), (side * 51, -27, 34)], [(3.5, 6, 5), (2.5, 4, 4)])
        bone = bone | ramus | condyle | coronoid
    return bone


def paint_mandible_and_teeth(canvas: Canvas) -> None:
    """Paint the mandible and both rows of teeth."""
    space = canvas.space
    canvas.paint_bone(mandible(space), marrow_hu=330, cortex_hu=1350, cortex_mm=2.4)
    for jaw_z, crown_z, y0 in ((-18, -12, -78), (8, 2, -80)):
        for position in np.linspace(-68, 68, 14):
            angle = np.radians(position * 1.15)
            x, y = 33 * np.sin(angle), -44 + (y0 + 44) * np.cos(angle)
            tooth = tube(space, [(x, y, jaw_z), (x, y, crown_z)], (3.1, 3.1, 3.5))
            canvas.paint(tooth, 1900, texture_hu=60)
            canvas.bone[tooth.slices] |= tooth.mm < 0


def paint_spine(canvas: Canvas) -> None:
    """Paint C1 to the upper thoracic spine with discs, canal, facets and processes, and the first ribs."""
    space = canvas.space
    _paint_atlas_and_axis(canvas)
    for number in range(3, 13):
        z = 5.0 - (number - 2) * _VERTEBRA_PITCH_MM
        y = spine_y(z)
        thoracic = number > 7
        width = 15.0 if thoracic else 12.5
        disc = ellipsoid(
            space, (0, spine_y(z + _VERTEBRA_PITCH_MM / 2), z + _VERTEBRA_PITCH_MM / 2), (width - 1, 9, 3.5)
        )
        canvas.paint(disc, 85, texture_hu=8)
        canvas.bone[disc.slices] |= disc.mm < 0
        body = stack(
            space,
            [(z - 6.6, 0, y, width, 8.5, 8.5), (z, 0, y, width - 1.5, 7.8, 8.2), (z + 6.6, 0, y, width, 8.5, 8.5)],
            exponent=2.6,
        )
        canvas.paint_bone(body, marrow_hu=250, cortex_hu=700, cortex_mm=1.4)
        canal = stack(space, [(z - 14, 0, cord_y(z - 14), 11.2, 7.6, 7.6), (z + 14, 0, cord_y(z + 14), 11.2, 7.6, 7.6)])
        arch = stack(space, [(z - 7, 0, y + 17, 15.5, 11, 12.5), (z + 5, 0, y + 16, 15.5, 11, 12)]) - canal
        spinous = tube(
            space,
            [(0, y + 28, z - 2), (0, y + (40 if not thoracic else 50), z - (7 if not thoracic else 14))],
            [(3, 5, 5), (4.5, 4, 4)],
        )
        posterior = arch | spinous
        for side in (1.0, -1.0):
            pillar = ellipsoid(space, (side * 19, y + 13, z), (7.5, 7.5, 8.6), tilt_deg=-35)
            transverse = tube(
                space,
                [(side * 17, y + 5, z), (side * (24 if not thoracic else 36), y + (6 if not thoracic else 18), z + 1)],
                (3.5, 4, 4),
            )
            posterior = posterior | (pillar - canal) | transverse
        canvas.paint_bone(posterior, marrow_hu=330, cortex_hu=850, cortex_mm=1.5)
        if thoracic:
            _paint_rib(canvas, z, y, number - 7)


def _paint_atlas_and_axis(canvas: Canvas) -> None:
    space = canvas.space
    canal = stack(space, [(-12, 0, cord_y(-12), 11.5, 7.8, 8), (34, 0, cord_y(34), 13, 9, 10)])
    dens = tube(space, [(0, spine_y(5), 2), (0, spine_y(20) + 1, 24)], [(9, 7, 7), (5, 5, 5)])
    axis = stack(space, [(-5, 0, spine_y(0), 13, 8, 8.5), (9, 0, spine_y(8), 11, 7.5, 8)], exponent=2.4)
    arch = stack(space, [(-7, 0, spine_y(0) + 17, 15.5, 11, 13), (6, 0, spine_y(0) + 17, 15.5, 11, 13)]) - canal
    spinous = tube(space, [(0, spine_y(0) + 29, -2), (0, spine_y(0) + 44, -8)], [(4, 5, 6), (6, 5, 5)])
    ring = stack(space, [(15, 0, 20, 24, 18, 21), (25, 0, 20, 24, 18, 21)])
    ring = ring - stack(space, [(5, 0, 20, 17, 14, 16.5), (35, 0, 20, 17, 14, 16.5)])
    bone = dens | axis | arch | spinous | ring
    for side in (1.0, -1.0):
        bone = bone | (ellipsoid(space, (side * 21, 14, 20), (9, 9, 9)) - canal)
        bone = bone | tube(space, [(side * 26, 15, 20), (side * 39, 17, 20)], (4, 4, 4))
        bone = bone | (ellipsoid(space, (side * 18, 11, 4), (9, 8, 9)) - canal)
    canvas.paint_bone(bone, marrow_hu=380, cortex_hu=950, cortex_mm=1.7)


def _paint_rib(canvas: Canvas, z: float, y: float, number: int) -> None:
    for side in (1.0, -1.0):
        reach = 40 + 16 * min(number, 3)
        path = [
            (side * 24, y + 12, z),
            (side * (reach * 0.75), y + 22, z - 3),
            (side * reach, y - 2, z - 12),
            (side * reach * 0.75, y - 42, z - 26),
        ]
        canvas.paint_bone(tube(canvas.space, path, (4, 4, 4.5)), marrow_hu=220, cortex_hu=700, cortex_mm=1.6)


def paint_shoulder_girdle(canvas: Canvas, compartment: np.ndarray) -> None:
    """Paint clavicles, scapulae and humeral heads as far as the scan reaches, below the skin."""
    space = canvas.space
    for side in (1.0, -1.0):
        clavicle = tube(
            space,
            [(side * 14, -36, -148), (side * 55, -40, -138), (side * 100, -14, -132), (side * 138, 4, -132)],
            (6, 6, 5.5),
        )
        canvas.paint_bone(clavicle.cut_by(compartment), marrow_hu=260, cortex_hu=1050, cortex_mm=2.0)
        scapula = tube(
            space,
            [(side * 80, 70, -135), (side * 122, 46, -134), (side * 144, 24, -136)],
            [(8, 4.5, 18), (10, 6, 8), (9, 9, 6)],
        )
        canvas.paint_bone(scapula.cut_by(compartment), marrow_hu=250, cortex_hu=800, cortex_mm=1.8)
        humerus = ellipsoid(space, (side * 160, 14, -156), (22, 22, 22))
        canvas.paint_bone(humerus.cut_by(compartment), marrow_hu=180, cortex_hu=800, cortex_mm=2.2)


def paint_laryngeal_skeleton(canvas: Canvas) -> None:
    """Paint hyoid, thyroid and cricoid cartilage. They move with the soft tissue, not with the spine."""
    space = canvas.space
    hyoid = tube(
        space, [(-19, -22, -43), (-12, -37, -45), (0, -42, -46), (12, -37, -45), (19, -22, -43)], (2.8, 2.8, 3.2)
    )
    canvas.paint(hyoid, 480, texture_hu=40)
    for side in (1.0, -1.0):
        lamina = tube(
            space,
            [(0, -43, -64), (side * 10, -34, -68), (side * 18, -17, -70)],
            [(2.2, 2.2, 8), (2.2, 2.4, 11), (2.2, 3, 13)],
        )
        canvas.paint(lamina, 190, texture_hu=60)
    outer = stack(space, [(-96, 0, -19, 13, 12, 12), (-86, 0, -19, 13, 12, 12)])
    canvas.paint(outer - stack(space, [(-110, 0, -20, 9.5, 9.5, 9), (-70, 0, -20, 9.5, 9.5, 9)]), 210, texture_hu=60)
