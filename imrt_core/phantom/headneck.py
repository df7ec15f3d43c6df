"""The head-and-neck patient: carcinoma of the left oropharynx with left level II nodes, 70/63/56 Gy in 35 fractions."""

from __future__ import annotations

import numpy as np

from imrt_core.patient import Grid, Volume

from .anatomy import Anatomy, Region, expanded
from .canvas import Canvas
from .headneck_bones import (
    cord_y,
    mandible,
    paint_laryngeal_skeleton,
    paint_mandible_and_teeth,
    paint_shoulder_girdle,
    paint_skull,
    paint_spine,
    spine_y,
)
from .headneck_soft import brainstem, paint_airway, paint_body, paint_brain, paint_muscles, paint_organs
from .shapes import Level, Space, ellipsoid, stack, tube, warped_space

GRID = Grid(shape=(93, 146, 220), spacing_mm=(1.953, 1.953, 3.0), origin_lps=(-213.9, -136.0, -150.0))
_MARGIN_MM = 5.0
_SKIN_MM = 4.0
_LEFT, _RIGHT = 1.0, -1.0


def head_and_neck(*, seed: int) -> Anatomy:
    """Build HU, rigid bone and regions of the head-and-neck patient. Deterministic in ``seed``."""
    rng = np.random.default_rng([seed, 1])
    space = warped_space(GRID, rng=rng)
    canvas = Canvas(space)
    body, inner = paint_body(canvas)
    paint_muscles(canvas, inner.full())
    paint_skull(canvas)
    paint_brain(canvas)
    paint_spine(canvas)
    paint_shoulder_girdle(canvas, body.grown(-4).full())
    cord = stack(space, [(z, 0, cord_y(z), 6.2, 4.6, 4.6) for z in range(-165, 36, 10)])
    thecal = stack(space, [(z, 0, cord_y(z), 9.5, 6.6, 6.6) for z in range(-165, 36, 10)])
    canvas.paint(thecal, 12, texture_hu=3)
    canvas.paint(cord, 38, texture_hu=3)
    jaw = mandible(space)
    organs = paint_organs(canvas, jaw)
    paint_mandible_and_teeth(canvas)
    paint_laryngeal_skeleton(canvas)
    airway = paint_airway(canvas)
    targets = _targets(canvas, avoid=airway | jaw, body=body)
    regions = (
        Region("External", body, "EXTERNAL"),
        *targets,
        Region("SpinalCord", cord),
        Region("Brainstem", brainstem(space)),
        *organs,
        Region("Bone_Mandible", jaw),
    )
    return Anatomy(Volume(canvas.tissue_hu(rng=rng), GRID), canvas.bone, regions)


def _node_chain(space: Space, side: float, *, top: float, bottom: float, radius: float = 1.0) -> Level:
    """Return the jugular chain, levels II to IV."""
    path = np.array([(29, 10, 22), (31, 8, 2), (35, 6, -20), (37, 2, -50), (36, -2, -80), (33, 0, -115)], dtype=float)
    semi = np.array([(6, 8, 6), (7, 10, 8), (9, 13, 8), (10.5, 13, 8), (10, 12, 8), (11, 11, 7)], dtype=float)
    level = tube(space, path * (side, 1, 1), semi * radius)
    cut = np.maximum(bottom - space.z, space.z - top).astype(np.float32)
    return level.cut_by(cut)


def _targets(canvas: Canvas, *, avoid: Level, body: Level) -> tuple[Region, ...]:
    """Return CTVs and PTVs of the three dose levels; each level excludes the higher ones."""
    space = canvas.space
    primary = ellipsoid(space, (17, -19, -10), (15, 16, 20))
    canvas.paint(primary, 62, texture_hu=8)
    node = ellipsoid(space, (37, 4, -34), (9.5, 13, 13))
    canvas.paint(node, 58, texture_hu=8)
    spine = stack(space, [(z, 0, spine_y(z) + 10, 22, 19, 30) for z in range(-160, 36, 14)])
    skin = body.grown(-_SKIN_MM)
    high = primary.grown(3) | node.grown(3)
    middle = ellipsoid(space, (13, -18, -10), (19, 18, 26)) | _node_chain(space, _LEFT, top=14, bottom=-72, radius=1.2)
    low = (
        _node_chain(space, _LEFT, top=18, bottom=-112)
        | _node_chain(space, _RIGHT, top=2, bottom=-112)
        | ellipsoid(space, (0, -17, 8), (20, 9, 22))
    )
    clinical, planning = [], []
    higher_ctv: Level | None = None
    higher_ptv: Level | None = None
    for dose, region in (("70", high), ("63", middle), ("56", low)):
        ctv = (region - spine - avoid) & skin
        ptv = expanded(ctv, grid=GRID, margin_mm=_MARGIN_MM) & skin
        own_ctv = ctv if higher_ctv is None else ctv - higher_ctv
        own_ptv = ptv if higher_ptv is None else ptv - higher_ptv
        clinical.append(Region(f"CTV{dose}", own_ctv, "CTV"))
        planning.append(Region(f"PTV{dose}", own_ptv, "PTV"))
        higher_ctv = ctv if higher_ctv is None else higher_ctv | ctv
        higher_ptv = ptv if higher_ptv is None else higher_ptv | ptv
    return (*planning, *clinical)
