"""The pelvis patient: carcinoma of the prostate, 60 Gy in 20 fractions.

Atlas axes are LPS mm with the origin in the middle of the prostate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, Volume

from .anatomy import Anatomy, Region, expanded
from .canvas import Canvas
from .shapes import Level, Space, ellipsoid, smooth_union, stack, tube, warped_space

GRID = Grid(shape=(84, 124, 190), spacing_mm=(2.15, 2.15, 3.0), origin_lps=(-203.0, -128.0, -93.0))
_MARGIN_MM = 7.0
_SIDES = ((1.0, "L"), (-1.0, "R"))


def pelvis(*, seed: int) -> Anatomy:
    """Build the pelvis patient. Deterministic in ``seed``."""
    rng = np.random.default_rng([seed, 2])
    space = warped_space(GRID, rng=rng)
    canvas = Canvas(space)
    body, wall = _paint_body(canvas)
    _paint_muscles(canvas, wall.full())
    _paint_bones(canvas)
    heads = tuple(_paint_femur(canvas, side) for side, _ in _SIDES)
    bowel = _paint_bowel(canvas)
    organs, prostate, vesicles = _paint_organs(canvas, rng)
    bladder, rectum, bulb = organs
    ctv = (prostate | (vesicles & ellipsoid(space, (0, 17, 22), (60, 30, 12)))) - rectum
    ptv = expanded(ctv, grid=GRID, margin_mm=_MARGIN_MM)
    regions = (
        Region("External", body, "EXTERNAL"),
        Region("PTV60", ptv, "PTV"),
        Region("CTV60", ctv, "CTV"),
        Region("Bladder", bladder),
        Region("Rectum", rectum - prostate),
        *(Region(f"Femur_Head_{suffix}", head) for (_, suffix), head in zip(_SIDES, heads, strict=True)),
        Region("Bowel_Bag", (bowel - bladder.grown(2)) - rectum.grown(2)),
        Region("PenileBulb", bulb),
    )
    return Anatomy(Volume(canvas.tissue_hu(rng=rng), GRID), canvas.bone, regions)


def _paint_body(canvas: Canvas) -> tuple[Level, Level]:
    """Paint skin, subcutaneous fat, muscle wall and the fat inside; return the body and the muscle wall's outside."""
    space = canvas.space
    trunk_rows = [
        (-84, 0, 26, 46, 34, 60),
        (-62, 0, 18, 120, 74, 92),
        (-30, 0, 13, 182, 96, 104),
        (0, 0, 12, 188, 100, 106),
        (50, 0, 8, 184, 104, 108),
        (100, 0, 6, 174, 112, 104),
        (150, 0, 4, 164, 114, 98),
        (215, 0, 2, 160, 114, 94),
    ]
    legs_rows = [(-160, 92, 14, 84, 86, 90), (-60, 92, 14, 90, 92, 96), (-20, 88, 14, 88, 90, 96)]
    mirror = [(z, -x, *rest) for z, x, *rest in legs_rows]
    trunk = stack(space, trunk_rows, exponent=2.5)
    legs = stack(space, legs_rows, exponent=2.2) | stack(space, mirror, exponent=2.2)
    body = smooth_union(trunk, legs, blend_mm=10)
    canvas.paint(body, -10, texture_hu=6)
    canvas.paint(body.grown(-2.2), -102, texture_hu=9)
    wall = smooth_union(trunk.grown(-21), legs.grown(-13), blend_mm=10)
    canvas.paint(wall, 52, texture_hu=10)
    cavity_rows = [
        (-52, 0, 20, 14, 16, 24),
        (-40, 0, 10, 40, 38, 52),
        (-10, 0, 4, 60, 48, 74),
        (40, 0, 2, 74, 62, 80),
        (90, 0, -6, 98, 78, 70),
        (150, 0, -16, 122, 76, 62),
        (215, 0, -18, 128, 76, 60),
    ]
    cavity = stack(space, cavity_rows, exponent=2.4) & wall.grown(-9)
    canvas.paint(cavity, -98, texture_hu=11)
    return body, wall


def _paint_muscles(canvas: Canvas, compartment: NDArray[np.float32]) -> None:
    space = canvas.space

    def muscle(solid: Level) -> None:
        level = solid.cut_by(compartment)
        canvas.paint(level.grown(1.8), -70, texture_hu=9)
        canvas.paint(level, 56, texture_hu=9)

    for side, _ in _SIDES:
        muscle(
            tube(
                space,
                [(side * 60, 92, 95), (side * 78, 88, 30), (side * 112, 58, -30)],
                [(46, 16, 30), (56, 22, 30), (34, 28, 34)],
            )
        )
        muscle(tube(space, [(side * 108, 30, 100), (side * 128, 22, 40)], [(16, 40, 34), (20, 30, 26)]))
        muscle(
            tube(
                space,
                [(side * 46, 8, 160), (side * 72, -22, 80), (side * 88, -42, 20)],
                [(22, 22, 24), (20, 19, 24), (17, 14, 22)],
            )
        )
        muscle(
            tube(space, [(side * 62, -2, 24), (side * 52, 20, -18)], [(7, 26, 18), (7, 22, 18)])
        )  # obturator internus
        muscle(tube(space, [(side * 30, 70, 60), (side * 75, 62, 40)], [(20, 8, 14), (18, 9, 12)]))  # piriformis
        muscle(tube(space, [(side * 12, 34, -8), (side * 20, 38, -32)], [(5, 20, 12), (7, 16, 8)]))  # levator ani
        muscle(stack(space, [(-10, side * 26, -72, 26, 9, 7), (160, side * 32, -84, 34, 8, 7)]))  # rectus abdominis
        for x, y, ax, ay in (
            (72, -48, 26, 26),
            (112, -44, 22, 26),
            (62, 8, 30, 32),
            (90, 60, 40, 26),
            (134, 2, 20, 34),
        ):
            muscle(
                stack(
                    space,
                    [(-160, side * x, y, ax, ay, ay), (-62, side * x, y, ax, ay, ay), (-28, side * x, y, 8, 8, 8)],
                )
            )
        vessels = tube(
            space, [(side * 36, 12, 150), (side * 58, -10, 70), (side * 74, -52, 14), (side * 78, -62, -80)], (7, 7, 8)
        )
        canvas.paint(vessels.grown(3), -90, texture_hu=10)
        canvas.paint(vessels, 48, texture_hu=4)


def _paint_bones(canvas: Canvas) -> None:
    space = canvas.space
    for z, y in ((146, 32), (182, 22)):
        body = stack(
            space, [(z - 14, 0, y, 26, 18, 17), (z, 0, y, 23.5, 16.5, 16), (z + 14, 0, y, 26, 18, 17)], exponent=2.5
        )
        canvas.paint_bone(body, marrow_hu=190, cortex_hu=650, cortex_mm=1.6)
        arch = stack(space, [(z - 12, 0, y + 36, 24, 18, 18), (z + 12, 0, y + 36, 24, 18, 18)])
        arch = arch - stack(space, [(z - 30, 0, y + 29, 13, 10, 9), (z + 30, 0, y + 29, 13, 10, 9)])
        spinous = tube(space, [(0, y + 50, z), (0, y + 70, z - 6)], [(4, 6, 9), (4, 5, 9)])
        lateral = tube(space, [(-48, y + 22, z), (0, y + 26, z), (48, y + 22, z)], (6, 5, 6))
        canvas.paint_bone((arch | spinous | lateral) - _canal(space), marrow_hu=300, cortex_hu=800, cortex_mm=1.6)
    sacrum = tube(
        space,
        [(0, 50, 122), (0, 66, 98), (0, 84, 70), (0, 88, 46), (0, 76, 22), (0, 64, 8)],
        [(50, 18, 10), (50, 18, 12), (38, 14, 12), (24, 10, 10), (12, 7, 8), (7, 5, 6)],
    )
    canvas.paint_bone(sacrum, marrow_hu=150, cortex_hu=600, cortex_mm=1.8)
    canal = tube(space, [(0, 66, 128), (0, 80, 98), (0, 94, 70)], [(13, 7, 8), (11, 6, 8), (7, 4, 6)])
    canvas.paint(canal, 5)
    for side, _ in _SIDES:
        wing = tube(
            space,
            [
                (side * 58, 66, 92),
                (side * 82, 42, 100),
                (side * 110, 8, 104),
                (side * 124, -28, 86),
                (side * 122, -44, 72),
            ],
            [(11, 12, 34), (8, 14, 38), (7, 14, 36), (8, 12, 22), (9, 9, 12)],
        )
        column = tube(
            space,
            [(side * 66, 56, 62), (side * 84, 24, 46), (side * 92, 4, 34)],
            [(10, 18, 20), (11, 22, 18), (16, 22, 14)],
        )
        socket = ellipsoid(space, (side * 91, 2, 11), (31, 31, 31)) & ellipsoid(space, (side * 76, 8, 20), (26, 36, 34))
        pubis = tube(
            space,
            [(side * 76, -22, 10), (side * 42, -42, 6), (side * 10, -50, -4)],
            [(10, 10, 9), (8, 7, 8), (8, 8, 14)],
        )
        lower = tube(
            space,
            [(side * 11, -44, -18), (side * 30, -16, -38), (side * 50, 18, -52)],
            [(6, 7, 8), (6, 8, 8), (9, 11, 9)],
        )
        ischium = tube(
            space,
            [(side * 72, 30, 6), (side * 62, 42, -22), (side * 56, 34, -48)],
            [(12, 11, 12), (11, 12, 14), (12, 14, 12)],
        )
        hip = wing | column | socket | pubis | lower | ischium
        canvas.paint_bone(hip, marrow_hu=230, cortex_hu=900, cortex_mm=2.0)
    symphysis = ellipsoid(space, (0, -50, -8), (3.5, 8, 16))
    canvas.paint(symphysis, 130, texture_hu=10)
    canvas.bone[symphysis.slices] |= symphysis.mm < 0


def _canal(space: Space) -> Level:
    return stack(space, [(118, 0, 62, 12, 9, 8), (215, 0, 48, 12, 9, 8)])


def _paint_femur(canvas: Canvas, side: float) -> Level:
    """Paint a femur with the gap of its joint; return the head."""
    space = canvas.space
    head = ellipsoid(space, (side * 92, 0, 9), (24, 24, 24))
    canvas.paint(head.grown(3.0), 60)
    shaft = tube(
        space,
        [(side * 96, 0, 6), (side * 118, 6, -10), (side * 134, 10, -26), (side * 130, 8, -60), (side * 126, 4, -150)],
        [(17, 17, 17), (16, 16, 16), (20, 20, 22), (16, 16, 16), (14, 14, 14)],
    )
    canvas.paint_bone(shaft | head, marrow_hu=260, cortex_hu=1250, cortex_mm=2.2)
    medulla = tube(space, [(side * 130, 8, -66), (side * 126, 4, -150)], (8.5, 8.5, 9))
    canvas.paint(medulla, 20, texture_hu=20)
    return head.grown(0.5)


def _paint_bowel(canvas: Canvas) -> Level:
    """Paint small and large bowel above the bladder; return the bag."""
    space = canvas.space
    bag = stack(
        space,
        [(62, 0, -8, 56, 40, 34), (84, 0, -22, 84, 54, 40), (120, 0, -26, 104, 58, 42), (215, 0, -28, 112, 60, 42)],
        exponent=2.4,
    )
    loops = (
        [(-60, -30, 92), (-20, -52, 98), (24, -44, 88), (58, -28, 100)],
        [(-70, -40, 122), (-30, -62, 126), (10, -36, 120), (52, -58, 128)],
        [(-40, -14, 108), (0, -18, 112), (40, -10, 108), (70, -30, 124)],
        [(-60, -44, 150), (-16, -30, 146), (30, -60, 152), (66, -34, 150)],
    )
    for number, path in enumerate(loops):
        loop = tube(space, path, (12.5, 12.5, 12.5))
        canvas.paint(loop, 42, texture_hu=7)
        canvas.paint(loop.grown(-2.5), 18 if number % 2 else 30, texture_hu=14)
        gas = ellipsoid(space, (path[1][0], path[1][1] - 5, path[1][2]), (9, 5.5, 7))
        canvas.paint(gas, -900, texture_hu=0)
    for side, _ in _SIDES:
        colon = tube(space, [(side * 82, -14, 104), (side * 94, -4, 135), (side * 96, 2, 170)], (19, 18, 18))
        canvas.paint(colon, 42, texture_hu=6)
        canvas.paint(colon.grown(-3), -40, texture_hu=60)
        canvas.paint(ellipsoid(space, (side * 91, -14, 128), (10, 6, 14)), -950, texture_hu=0)
    return bag


def _paint_organs(canvas: Canvas, rng: np.random.Generator) -> tuple[tuple[Level, Level, Level], Level, Level]:
    """Paint bladder, rectum, penile bulb, prostate and seminal vesicles."""
    space = canvas.space
    fill = float(np.clip(1 + 0.08 * rng.standard_normal(), 0.85, 1.15))
    bladder = ellipsoid(space, (0, -20, 18 + 31 * fill), (44 * fill, 35 * fill, 31 * fill))
    rectum = tube(
        space,
        [(0, 44, -44), (0, 31, -24), (0, 33, -4), (0, 42, 22), (0, 52, 48), (-4, 52, 72), (6, 32, 90), (22, 14, 100)],
        [(10, 10, 7), (13, 12, 10), (17, 14, 10), (18, 15, 11), (18, 15, 12), (16, 14, 12), (14, 13, 11), (13, 13, 11)],
    )
    for level in (bladder, rectum):
        canvas.paint(level.grown(2.0), -98, texture_hu=9)
    canvas.paint(rectum, 42, texture_hu=6)
    canvas.paint(rectum.grown(-3.5), -10, texture_hu=45)
    for centre, semi in (((0, 36, 22), (8, 5, 14)), ((-2, 52, 58), (9, 6, 11))):
        canvas.paint(ellipsoid(space, centre, semi) & rectum.grown(-3), -930, texture_hu=0)
    canvas.paint(bladder, 38, texture_hu=5)
    canvas.paint(bladder.grown(-3.0), 6, texture_hu=3)
    vesicles = tube(
        space, [(-32, 22, 32), (-10, 17, 22), (10, 17, 22), (32, 22, 32)], [(7, 5, 6), (8, 6, 7), (8, 6, 7), (7, 5, 6)]
    )
    vesicles = vesicles - rectum
    canvas.paint(vesicles, 28, texture_hu=6)
    prostate = smooth_union(
        ellipsoid(space, (0, 0, 2), (25, 18, 19)), ellipsoid(space, (0, 1, -14), (14, 13, 11)), blend_mm=8
    ) - rectum.grown(1.0)
    prostate = prostate - bladder
    canvas.paint(prostate, 44, texture_hu=7)
    bulb = ellipsoid(space, (0, 8, -40), (13, 9, 9))
    canvas.paint(bulb, 58, texture_hu=5)
    # Drawn from the anal canal to the rectosigmoid flexure, as protocols ask.
    drawn = rectum.cut_by(np.maximum(space.z - 84, -34 - space.z).astype(np.float32))
    return (bladder, drawn, bulb), prostate, vesicles
