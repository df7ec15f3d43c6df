"""Soft tissue and air of the head-and-neck patient. Axes: see :mod:`imrt_core.phantom.headneck_bones`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .anatomy import Region
from .canvas import Canvas
from .headneck_bones import brain_cavity, spine_y
from .shapes import Level, Space, ellipsoid, smooth_union, stack, tube

_LEFT, _RIGHT = 1.0, -1.0


def _trunk(space: Space) -> Level:
    rows = [
        (-215, 0, 24, 204, 78, 84),
        (-165, 0, 22, 202, 76, 82),
        (-148, 0, 20, 197, 70, 80),
        (-136, 0, 19, 184, 63, 76),
        (-126, 0, 18, 156, 60, 73),
        (-114, 0, 18, 112, 58, 70),
        (-102, 0, 18, 80, 57, 66),
        (-88, 0, 18, 64, 58, 62),
        (-70, 0, 18, 60, 66, 60),
        (-50, 0, 17, 61, 66, 60),
        (-25, 0, 16, 65, 62, 62),
        (5, 0, 14, 70, 58, 68),
        (35, 0, 10, 70, 55, 76),
        (60, 0, 5, 66, 50, 76),
    ]
    return stack(space, rows, exponent=2.2)


def _face(space: Space) -> Level:
    rows = [
        (-56, 0, -50, 30, 34, 30),
        (-48, 0, -50, 44, 47, 36),
        (-34, 0, -46, 57, 58, 46),
        (-14, 0, -42, 64, 59, 50),
        (5, 0, -40, 67, 62, 50),
        (25, 0, -40, 69, 63, 50),
        (45, 0, -38, 70, 64, 55),
        (75, 0, -30, 70, 68, 60),
        (105, 0, -20, 68, 74, 60),
        (130, 0, -15, 60, 68, 60),
    ]
    return stack(space, rows, exponent=2.2)


def paint_body(canvas: Canvas) -> tuple[Level, Level]:
    """Paint skin, subcutaneous fat and the muscle compartment; return the body and that compartment."""
    space = canvas.space
    trunk, face, cranium = _trunk(space), _face(space), ellipsoid(space, (0, 0, 92), (80, 99, 84))
    nose = ellipsoid(space, (0, -106, 32), (14, 19, 17))
    nose = smooth_union(nose, ellipsoid(space, (0, -102, 50), (9, 14, 18)), blend_mm=8)
    body = smooth_union(smooth_union(trunk, face, blend_mm=16), cranium, blend_mm=14)
    for side in (_LEFT, _RIGHT):
        ear = ellipsoid(space, (side * 80, 14, 46), (5, 13, 27), tilt_deg=side * 18, about="z")
        body = smooth_union(body, ear, blend_mm=6)
    body = smooth_union(body, nose, blend_mm=8)
    canvas.paint(body, -10, texture_hu=6)  # skin and its partial volume with air
    canvas.paint(body.grown(-2.2), -98, texture_hu=9)
    inner = smooth_union(trunk.grown(-7), face.grown(-7), blend_mm=16) | cranium.grown(-5)
    canvas.paint(inner, 46, texture_hu=9)
    # Fat between muscle groups and around the shoulder girdle, where a real neck has its lobules.
    compartment = inner.full()
    for side in (_LEFT, _RIGHT):
        triangle = tube(
            space,
            [(side * 47, 26, -40), (side * 50, 26, -80), (side * 80, 18, -122)],
            [(9, 13, 18), (11, 15, 18), (28, 20, 10)],
        )
        canvas.paint(triangle.cut_by(compartment), -85, texture_hu=12)
        canvas.paint(ellipsoid(space, (side * 52, -52, 0), (10, 16, 18)), -92, texture_hu=9)  # buccal fat
        canvas.paint(
            tube(space, [(side * 30, -8, 25), (side * 32, -6, -15)], (7, 8, 8)), -80, texture_hu=9
        )  # parapharyngeal
        canvas.paint(ellipsoid(space, (side * 118, 4, -140), (30, 22, 14)), -88, texture_hu=12)
    canvas.paint(ellipsoid(space, (0, -48, -46), (26, 20, 5)), -85, texture_hu=9)  # submental
    canvas.paint(stack(space, [(-190, 0, -20, 30, 18, 16), (-132, 0, -16, 22, 16, 12)]), -70, texture_hu=14)
    return body, inner


def _paint_muscle(canvas: Canvas, solid: Level, compartment: NDArray[np.float32], hu: float = 56.0) -> None:
    """Paint a muscle in its fascia: a thin sheet of fat sets it apart from its neighbours."""
    level = solid.cut_by(compartment)
    canvas.paint(level.grown(1.3), -45, texture_hu=10)
    canvas.paint(level, hu, texture_hu=9)


def paint_muscles(canvas: Canvas, compartment: NDArray[np.float32]) -> None:
    """Paint neck, chewing and shoulder muscles and the great vessels inside a compartment (level, mm)."""
    space = canvas.space

    def _muscle(solid: Level) -> None:
        _paint_muscle(canvas, solid, compartment)

    for side in (_LEFT, _RIGHT):
        for dx, dy, ax, ay in ((13, 30, 10, 9), (17, 45, 14, 8), (28, 34, 9, 10)):
            _muscle(stack(space, [(z, side * dx, spine_y(z) + dy, ax, ay, ay) for z in range(-165, 31, 15)]))
        trapezius = tube(
            space,
            [(side * 14, 82, 10), (side * 32, 72, -50), (side * 58, 62, -95), (side * 110, 52, -122)],
            [(10, 5, 12), (18, 6, 14), (26, 8, 14), (34, 12, 9)],
        )
        _muscle(trapezius)
        _muscle(
            stack(space, [(z, side * (25 + 0.06 * abs(z)), spine_y(z) + 4, 7, 8, 8) for z in range(-140, 1, 20)])
        )  # scalenes
        _muscle(
            stack(space, [(z, side * 9, spine_y(z) - 12, 7.5, 3.5, 3) for z in range(-130, 21, 15)])
        )  # longus colli
        sternomastoid = tube(
            space,
            [
                (side * 62, 30, 20),
                (side * 57, 18, -20),
                (side * 46, -4, -65),
                (side * 30, -22, -110),
                (side * 17, -32, -142),
            ],
            [(6, 11, 12), (7, 14, 12), (8, 12, 12), (9, 8, 12), (8, 6, 10)],
        )
        _muscle(sternomastoid)
        masseter = tube(space, [(side * 56, -34, 28), (side * 55, -24, -14)], [(5, 14, 12), (5.5, 13, 10)])
        _muscle(masseter)
        pterygoid = tube(space, [(side * 26, -26, 24), (side * 39, -18, -8)], [(7, 8, 9), (5.5, 10, 9)])
        _muscle(pterygoid)
        temporalis = tube(space, [(side * 54, -28, 46), (side * 68, -20, 72)], [(6, 16, 12), (4.5, 24, 16)])
        _muscle(temporalis)
        _muscle(ellipsoid(space, (side * 150, 22, -142), (34, 36, 34)))  # deltoid
        vein = tube(
            space, [(side * 31, 10, 24), (side * 36, 7, -20), (side * 34, 0, -70), (side * 32, -4, -120)], (6, 5.5, 6)
        )
        artery = tube(
            space, [(side * 25, 2, 26), (side * 27, 0, -30), (side * 24, -3, -75), (side * 20, -8, -125)], (3.6, 3.6, 4)
        )
        canvas.paint((vein | artery).grown(2.5), -70, texture_hu=9)
        canvas.paint(vein | artery, 62, texture_hu=4)


def brainstem(space: Space) -> Level:
    """Return medulla, pons and midbrain down to the foramen magnum."""
    return tube(
        space,
        [(0, 22, 36), (0, 16, 48), (0, 6, 62), (0, 0, 78)],
        [(8, 7, 5), (12, 10, 6), (17, 14, 8), (15, 11, 6)],
    ).cut_by(np.float32(36.0) - space.z)


def paint_brain(canvas: Canvas) -> None:
    """Paint brain, ventricles, falx and brainstem."""
    space = canvas.space
    cavity = brain_cavity(space)
    canvas.paint(cavity, 10, texture_hu=3)  # cerebrospinal fluid at the surface
    canvas.paint(cavity.grown(-2.0), 36, texture_hu=5)
    canvas.paint(cavity.grown(-9.0), 29, texture_hu=4)
    canvas.paint(stack(space, [(60, 0, 0, 1.2, 80, 84), (135, 0, 0, 1.2, 80, 84)]) & cavity, 18)  # falx and fissure
    for side in (_LEFT, _RIGHT):
        canvas.paint(tube(space, [(side * 10, -28, 98), (side * 12, 8, 106), (side * 20, 36, 96)], (5, 7, 6)), 6)
        canvas.paint(ellipsoid(space, (side * 26, 42, 46), (24, 22, 15)), 38, texture_hu=6)  # cerebellum
    canvas.paint(ellipsoid(space, (0, 22, 58), (6, 4, 8)), 6)  # fourth ventricle
    canvas.paint(brainstem(space).grown(2.5), 10, texture_hu=3)
    canvas.paint(brainstem(space), 33, texture_hu=4)


def parotid(space: Space, side: float) -> Level:
    """Return a parotid gland (+1 left): superficial lobe over the ramus, deep lobe behind it."""
    superficial = ellipsoid(space, (side * 54, -2, 7), (8.8, 21, 27), tilt_deg=side * 12, about="z")
    deep = ellipsoid(space, (side * 49, 9, 4), (11.5, 12, 25))
    return smooth_union(superficial, deep, blend_mm=8)


def paint_organs(canvas: Canvas, jaw: Level) -> tuple[Region, ...]:
    """Paint glands, tongue, pharynx, larynx, oesophagus and lung apices; return those to contour."""
    space = canvas.space
    oral = ellipsoid(space, (0, -51, -7), (26, 30, 19)) - jaw.grown(4.0)
    canvas.paint(oral, 52, texture_hu=9)
    constrictor = stack(space, [(z, 0, spine_y(z) - 18, 19, 15, 7) for z in range(-66, 25, 10)])
    canvas.paint(constrictor, 52, texture_hu=6)
    regions = []
    for side, suffix in ((_LEFT, "L"), (_RIGHT, "R")):
        gland = parotid(space, side) - jaw.grown(0.5)
        canvas.paint(gland.grown(1.2), -70, texture_hu=9)
        canvas.paint(gland, 12, texture_hu=14)
        regions.append(Region(f"Parotid_{suffix}", gland))
    for side, suffix in ((_LEFT, "L"), (_RIGHT, "R")):
        gland = ellipsoid(space, (side * 31, -37, -31), (10, 16, 12.5), tilt_deg=side * -20, about="z") - jaw.grown(1.0)
        canvas.paint(gland.grown(1.5), -75, texture_hu=9)
        canvas.paint(gland, 38, texture_hu=8)
        regions.append(Region(f"Glnd_Submand_{suffix}", gland))
    for side, suffix in ((_LEFT, "L"), (_RIGHT, "R")):
        cochlea = ellipsoid(space, (side * 26, 2, 47), (4.2, 4.2, 4.2))
        canvas.paint(cochlea.grown(-1.5), 350)
        regions.append(Region(f"Cochlea_{suffix}", cochlea))
    larynx = stack(space, [(-90, 0, -24, 16, 17, 14), (-70, 0, -26, 20, 20, 16), (-52, 0, -28, 18, 16, 14)])
    canvas.paint(larynx, 42, texture_hu=8)
    oesophagus = stack(space, [(z, 2, spine_y(z) - 17.5, 9, 5.5, 5.5) for z in range(-170, -91, 10)])
    canvas.paint(oesophagus.grown(1.2), -60)
    canvas.paint(oesophagus, 40)
    canvas.paint(stack(space, [(z, 2, spine_y(z) - 17.5, 3, 1.6, 1.6) for z in range(-170, -91, 10)]), -350)
    for side in (_LEFT, _RIGHT):
        thyroid = ellipsoid(space, (side * 18, -18, -106), (8.5, 10, 20))
        canvas.paint(thyroid, 112, texture_hu=7)
        lung = ellipsoid(space, (side * 46, 22, -178), (36, 46, 48))
        canvas.paint(lung, -800, texture_hu=40)
        _paint_lung_vessels(canvas, side)
    regions += [Region("Larynx", larynx), Region("Esophagus", oesophagus), Region("Cavity_Oral", oral)]
    return tuple(regions)


def _paint_lung_vessels(canvas: Canvas, side: float) -> None:
    for dx, dy in ((-6, 4), (8, -10), (2, 18), (16, 8)):
        path = [(side * (46 + dx), 22 + dy, -142), (side * (44 + dx * 0.5), 22 + dy * 0.6, -178)]
        canvas.paint(tube(canvas.space, path, (1.6, 1.6, 2.0)), -200)


def paint_airway(canvas: Canvas) -> Level:
    """Paint nasopharynx to trachea as one open tube, with the epiglottis; return it."""
    space = canvas.space
    pharynx = stack(
        space,
        [
            (-62, 0, -19, 9, 6, 5),
            (-48, 0, -20, 13, 8, 6),
            (-30, 0, -20, 9, 5, 4.5),
            (-10, 0, -19, 10, 5, 5),
            (8, 0, -18, 11, 6, 5),
            (22, 0, -20, 13, 9, 7),
            (38, 0, -24, 11, 10, 8),
            (42, 0, -26, 9, 8, 6),
        ],
    )
    glottis = stack(
        space,
        [
            (-96, 0, -20, 8.5, 9, 8),
            (-84, 0, -21, 7.5, 9, 8),
            (-75, 0, -23, 2.2, 10, 8),
            (-66, 0, -22, 6, 10, 7),
            (-58, 0, -21, 9, 8, 6),
        ],
    )
    trachea = stack(space, [(z, 0, spine_y(z) - 33, 9.2, 9.2, 8.4) for z in range(-170, -93, 9)])
    canvas.paint(trachea.grown(1.8), 60)
    mouth = ellipsoid(space, (0, -50, 11.5), (15, 22, 1.8))
    airway = pharynx | glottis | trachea
    canvas.paint(airway | mouth, -1000, texture_hu=0)
    canvas.paint(tube(space, [(0, -33, -48), (0, -24, -36)], (8, 1.6, 2.5)), 45)
    return airway
