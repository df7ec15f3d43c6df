"""The lung patient: carcinoma of the right upper lobe, 60 Gy in 30 fractions.

Atlas axes are LPS mm; z = 0 is the level of the carina, y = 0 just in front of the vertebral bodies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, Volume

from .anatomy import Anatomy, Region, expanded
from .canvas import Canvas
from .shapes import Level, Space, ellipsoid, smooth_union, stack, tube, warped_space

GRID = Grid(shape=(92, 124, 184), spacing_mm=(2.2, 2.2, 3.0), origin_lps=(-201.0, -138.0, -165.0))
_MARGIN_MM, _CTV_MM = 8.0, 6.0
_LEFT, _RIGHT = 1.0, -1.0
_TUMOUR = (-58.0, -14.0, 12.0)
_VERTEBRA_PITCH_MM = 24.0


def lung(*, seed: int) -> Anatomy:
    """Build the lung patient. Deterministic in ``seed``."""
    rng = np.random.default_rng([seed, 3])
    space = warped_space(GRID, rng=rng)
    canvas = Canvas(space)
    body, compartment = _paint_body(canvas)
    left, right = (_lung(space, side) for side in (_LEFT, _RIGHT))
    _paint_muscles(canvas, compartment.full())
    mediastinum = _paint_inside(canvas, left, right)
    heart = _heart(space)
    left, right = (lobe - mediastinum - heart.grown(2.5) for lobe in (left, right))
    cord = _paint_spine(canvas)
    _paint_thoracic_cage(canvas, compartment.full())
    for lobe in (left, right):
        # Ribs bulge into the pleura a little: the lung is what the cage leaves.
        canvas.paint(lobe, -790, texture_hu=28)
        canvas.bone[lobe.slices] &= ~(lobe.mm < 0)
        _paint_vessels(canvas, lobe, _LEFT if lobe is left else _RIGHT, rng)
    trachea, oesophagus = _paint_mediastinum(canvas, heart)
    tumour = smooth_union(
        ellipsoid(space, _TUMOUR, (17, 16, 17)),
        ellipsoid(space, (_TUMOUR[0] + 10, _TUMOUR[1] + 6, _TUMOUR[2] - 6), (11, 10, 10)),
        blend_mm=6,
    )
    canvas.paint(tumour.grown(1.5), -350, texture_hu=60)
    canvas.paint(tumour, 42, texture_hu=12)
    ctv = expanded(tumour, grid=GRID, margin_mm=_CTV_MM) & right.grown(3)
    ctv = ctv | tumour
    ptv = expanded(ctv, grid=GRID, margin_mm=_MARGIN_MM)
    left_drawn, right_drawn = (lobe - trachea.grown(1) for lobe in (left, right))
    right_drawn = right_drawn - tumour
    regions = (
        Region("External", body, "EXTERNAL"),
        Region("PTV60", ptv & body.grown(-4), "PTV"),
        Region("CTV60", ctv, "CTV"),
        Region("GTV", tumour, "GTV"),
        Region("Lung_L", left_drawn),
        Region("Lung_R", right_drawn),
        Region("Lungs", left_drawn | right_drawn),
        Region("Heart", heart),
        Region("Esophagus", oesophagus),
        Region("SpinalCord", cord),
        Region("Trachea", trachea),
    )
    return Anatomy(Volume(canvas.tissue_hu(rng=rng), GRID), canvas.bone, regions)


def _spine_y(z_mm: float) -> float:
    return float(np.interp(z_mm, [-220, -100, 0, 60, 140], [26, 34, 32, 24, 8]))


def _paint_body(canvas: Canvas) -> tuple[Level, Level]:
    space = canvas.space
    rows = [
        (-240, 0, 0, 168, 112, 108),
        (-150, 0, 0, 172, 116, 110),
        (-60, 0, 0, 178, 118, 112),
        (20, 0, 2, 182, 108, 112),
        (70, 0, 4, 190, 88, 104),
        (105, 0, 4, 196, 68, 92),
        (140, 0, 4, 150, 54, 78),
    ]
    body = stack(space, rows, exponent=2.4)
    canvas.paint(body, -10, texture_hu=6)
    canvas.paint(body.grown(-2.2), -104, texture_hu=9)
    compartment = body.grown(-12)
    canvas.paint(compartment, 50, texture_hu=10)
    return body, compartment


def _lung(space: Space, side: float) -> Level:
    rows = [
        (-140, side * 86, 30, 40, 34, 50),
        (-110, side * 82, 10, 52, 66, 62),
        (-60, side * 78, 0, 57, 82, 74),
        (0, side * 74, -2, 55, 78, 74),
        (42, side * 66, 2, 48, 60, 62),
        (70, side * 52, 8, 36, 40, 46),
        (88, side * 44, 12, 20, 22, 26),
        (97, side * 41, 14, 7, 8, 9),
    ]
    dome = ellipsoid(space, (side * 84, -6, -172), (84, 98, 84 if side < 0 else 74))
    return stack(space, rows, exponent=2.2) - dome


def _paint_muscles(canvas: Canvas, compartment: NDArray[np.float32]) -> None:
    space = canvas.space

    def muscle(solid: Level) -> None:
        level = solid.cut_by(compartment)
        canvas.paint(level.grown(1.8), -70, texture_hu=9)
        canvas.paint(level, 56, texture_hu=9)

    for side in (_LEFT, _RIGHT):
        muscle(stack(space, [(z, side * 26, _spine_y(z) + 46, 22, 14, 15) for z in range(-230, 131, 40)]))
        muscle(tube(space, [(side * 70, -86, 20), (side * 110, -62, 70)], [(46, 12, 36), (40, 16, 26)]))  # pectoralis
        muscle(tube(space, [(side * 140, 40, -80), (side * 148, 44, 20)], [(12, 44, 40), (16, 40, 40)]))  # latissimus
        muscle(
            tube(space, [(side * 92, 76, -10), (side * 100, 72, 70)], [(40, 10, 30), (46, 11, 30)])
        )  # subscapular group
        muscle(ellipsoid(space, (side * 160, 4, 84), (34, 40, 40)))


def _paint_inside(canvas: Canvas, left: Level, right: Level) -> Level:
    """Paint mediastinal fat, liver, spleen and stomach; return the mediastinum."""
    space = canvas.space
    rows = [
        (-150, 6, 0, 58, 74, 44),
        (-90, 10, -10, 50, 66, 48),
        (-40, 6, -8, 38, 58, 50),
        (0, 2, -6, 30, 52, 50),
        (60, 0, -2, 30, 46, 48),
        (120, 0, 0, 30, 38, 40),
    ]
    mediastinum = stack(space, rows, exponent=2.2)
    lungs = left.grown(4) | right.grown(4)
    canvas.paint(mediastinum, -88, texture_hu=14)
    abdomen = stack(space, [(-260, 0, -6, 140, 92, 78), (-70, 0, -6, 140, 92, 78)]) - lungs
    canvas.paint(abdomen, -95, texture_hu=12)
    liver = stack(space, [(-260, -60, -8, 76, 80, 72), (-150, -62, -8, 76, 82, 76), (-84, -74, -8, 62, 70, 66)])
    spleen = ellipsoid(space, (102, 44, -150), (30, 40, 46))
    stomach = ellipsoid(space, (62, -28, -150), (44, 46, 50))
    for organ, hu in ((liver, 62.0), (spleen, 52.0), (stomach, 25.0)):
        canvas.paint(organ - lungs, hu, texture_hu=8)
    canvas.paint(ellipsoid(space, (58, -52, -126), (24, 16, 18)) - lungs, -930, texture_hu=0)
    return mediastinum


def _paint_spine(canvas: Canvas) -> Level:
    space = canvas.space
    levels = range(-230, 141, 10)
    canal = stack(space, [(z, 0, _spine_y(z) + 25, 10.5, 8.5, 8.5) for z in levels])
    for number in range(-10, 6):
        z = number * _VERTEBRA_PITCH_MM + 6
        y = _spine_y(z)
        if not -215 < z < 135:
            continue
        disc_z = z + _VERTEBRA_PITCH_MM / 2
        disc = ellipsoid(space, (0, _spine_y(disc_z), disc_z), (17, 15, 3.4))
        canvas.paint(disc, 85, texture_hu=8)
        canvas.bone[disc.slices] |= disc.mm < 0
        body = stack(
            space, [(z - 9.5, 0, y, 18, 16, 15), (z, 0, y, 16, 14.5, 14.5), (z + 9.5, 0, y, 18, 16, 15)], exponent=2.5
        )
        arch = stack(space, [(z - 9, 0, y + 28, 17, 15, 16), (z + 7, 0, y + 27, 17, 15, 16)]) - canal
        spinous = tube(space, [(0, y + 42, z - 4), (0, y + 62, z - 20)], [(3.5, 5, 7), (4, 5, 6)])
        lateral = tube(space, [(-34, y + 32, z), (0, y + 32, z), (34, y + 32, z)], (6, 5, 6)) - canal
        canvas.paint_bone(body, marrow_hu=190, cortex_hu=620, cortex_mm=1.5)
        canvas.paint_bone(arch | spinous | lateral, marrow_hu=280, cortex_hu=800, cortex_mm=1.5)
    canvas.paint(canal, -20)
    canvas.paint(stack(space, [(z, 0, _spine_y(z) + 25, 8.5, 7, 7) for z in levels]), 12, texture_hu=3)
    cord = stack(space, [(z, 0, _spine_y(z) + 25, 5.5, 4.5, 4.5) for z in levels])
    canvas.paint(cord, 38, texture_hu=3)
    return cord


def _paint_thoracic_cage(canvas: Canvas, compartment: NDArray[np.float32]) -> None:
    """Paint ribs on the outside of the lungs, sternum, scapulae and clavicles."""
    space = canvas.space
    cage = {
        -200: (126, 92, 86),
        -110: (142, 94, 88),
        -60: (143, 92, 86),
        0: (137, 88, 82),
        45: (121, 72, 74),
        85: (92, 52, 60),
    }
    knots = sorted(cage)
    for number in range(-8, 4):
        z0 = number * _VERTEBRA_PITCH_MM + 18
        for side in (_LEFT, _RIGHT):
            path = []
            for angle in np.radians(np.linspace(78, -62, 15)):
                # From the spine (posterior) round the flank to the front, falling by 60 mm as ribs do.
                z = z0 - 46 * (1 - np.sin(angle)) / 2 - 14 * np.cos(angle)
                ax, front, back = (float(np.interp(z, knots, [cage[k][i] for k in knots])) for i in range(3))
                path.append((side * ax * np.cos(angle), 2 + (back if angle > 0 else front) * np.sin(angle), z))
            rib = tube(space, path, (4.2, 4.2, 6.0)).cut_by(compartment)
            canvas.paint_bone(rib, marrow_hu=170, cortex_hu=780, cortex_mm=1.5)
    sternum = tube(space, [(0, -86, 46), (0, -98, 0), (0, -104, -70)], [(26, 7, 14), (17, 6, 16), (14, 5, 12)])
    canvas.paint_bone(sternum.cut_by(compartment), marrow_hu=140, cortex_hu=520, cortex_mm=1.6)
    for side in (_LEFT, _RIGHT):
        blade = tube(
            space,
            [(side * 82, 84, -30), (side * 104, 80, 30), (side * 134, 50, 84)],
            [(12, 4, 18), (34, 4.5, 26), (16, 12, 14)],
        )
        canvas.paint_bone(blade.cut_by(compartment), marrow_hu=220, cortex_hu=750, cortex_mm=1.6)
        clavicle = tube(space, [(side * 20, -72, 62), (side * 80, -62, 84), (side * 136, -16, 96)], (6, 6, 6))
        canvas.paint_bone(clavicle.cut_by(compartment), marrow_hu=260, cortex_hu=1000, cortex_mm=1.8)


def _paint_vessels(canvas: Canvas, lobe: Level, side: float, rng: np.random.Generator) -> None:
    """Paint a tree of vessels from the hilum into one lung."""
    space = canvas.space
    inner = lobe.grown(-5).full()
    hilum = np.array([side * 30, 2.0, -8.0])
    for _ in range(42):
        direction = rng.standard_normal(3) * (0.5, 1.0, 1.3) + (side * 0.8, 0, 0)
        direction /= np.linalg.norm(direction)
        reach = rng.uniform(45, 95)
        bend = rng.standard_normal(3) * 9
        path = [hilum, hilum + 0.5 * reach * direction + bend, hilum + reach * direction]
        vessel = tube(space, path, [(4.4,) * 3, (2.6,) * 3, (1.6,) * 3])
        canvas.paint(vessel.cut_by(inner), 20, texture_hu=20)


def _heart(space: Space) -> Level:
    return smooth_union(
        ellipsoid(space, (22, -42, -84), (50, 42, 46), tilt_deg=-30, about="z"),
        ellipsoid(space, (-8, -32, -58), (38, 36, 32)),
        blend_mm=14,
    )


def _paint_mediastinum(canvas: Canvas, heart: Level) -> tuple[Level, Level]:
    """Paint great vessels, heart, airways and oesophagus; return trachea and oesophagus."""
    space = canvas.space
    aorta = tube(
        space,
        [(6, -34, -46), (-4, -38, 4), (4, -22, 30), (20, 6, 30), (24, 18, 0), (22, 20, -90), (8, 14, -230)],
        [(15, 15, 15), (15, 15, 15), (13, 13, 13), (13, 13, 13), (12.5, 12.5, 14), (12, 12, 14), (11, 11, 14)],
    )
    pulmonary = tube(
        space,
        [(14, -38, -34), (14, -26, -12), (-4, -14, -12), (-34, -6, -12)],
        [(13, 13, 13), (13, 13, 12), (11, 10, 10), (9, 9, 9)],
    )
    cava = tube(space, [(-24, -26, 90), (-26, -24, 10), (-24, -20, -60)], (9, 9, 10))
    canvas.paint(heart.grown(2.5), -80, texture_hu=10)
    canvas.paint(heart, 46, texture_hu=7)
    canvas.paint(ellipsoid(space, (30, -46, -88), (22, 18, 26), tilt_deg=-30, about="z"), 38, texture_hu=4)
    for vessel in (aorta, pulmonary, cava):
        canvas.paint(vessel, 44, texture_hu=5)
    oesophagus = tube(space, [(2, 2, 125), (4, 8, 40), (6, 8, -20), (10, 2, -90), (16, -8, -150)], (8.5, 6, 8))
    canvas.paint(oesophagus.grown(1.5), -70)
    canvas.paint(oesophagus, 38, texture_hu=6)
    canvas.paint(oesophagus.grown(-4.6), -250)
    trachea = tube(space, [(0, -18, 130), (0, -14, 60), (0, -8, 4)], (9, 8, 9))
    bronchi = tube(space, [(36, 2, -22), (14, -3, -6), (0, -6, 6), (-14, -3, -6), (-36, 2, -20)], (6, 6, 6))
    airway = trachea | bronchi
    canvas.paint(airway.grown(1.8), 55)
    canvas.paint(airway, -1000, texture_hu=0)
    return airway, oesophagus
