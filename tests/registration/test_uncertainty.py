"""Drawn errors of a deformation: their covariance against the dense inverse, what they do to fields, repeatability."""

from __future__ import annotations

import numpy as np

from imrt_core.patient import DisplacementField, Grid, RigidTransform
from registration import register_deformable
from registration.deformable.uncertainty import VOXEL_SHARE, DisplacementSamples, Quadratic, draw_errors

from .phantoms import Anatomy, WeightLoss, image_of_day, planning_ct

LATTICE = Grid((3, 4, 3), (8.0, 7.0, 9.0), (-8.0, -10.0, -9.0))


def quadratic() -> Quadratic:
    """Strong data in a few cells and directions, none in others; a prior everywhere."""
    rng = np.random.default_rng(3)
    slopes = rng.normal(size=(*LATTICE.shape, 3)) * (rng.uniform(size=LATTICE.shape) < 0.6)[..., None]
    data = np.stack([slopes[..., a] * slopes[..., b] for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], -1)
    return Quadratic(LATTICE, data, np.full(LATTICE.shape, 0.05), 400.0)


def dense(q: Quadratic) -> np.ndarray:  # type: ignore[type-arg]
    """The matrix of data, prior and bending energy, entry by entry."""
    cells = int(np.prod(q.lattice.shape))
    laplacian = np.zeros((cells, cells))
    place = np.arange(cells).reshape(q.lattice.shape)
    for axis, step in enumerate(q.lattice.spacing_mm[::-1]):
        one, other = np.moveaxis(place, axis, 0)[:-1].ravel(), np.moveaxis(place, axis, 0)[1:].ravel()
        for a, b in zip(one, other, strict=True):
            laplacian[a, a] += 1 / step**2
            laplacian[b, b] += 1 / step**2
            laplacian[a, b] -= 1 / step**2
            laplacian[b, a] -= 1 / step**2
    found = np.kron(q.bending_mm2 * laplacian @ laplacian, np.eye(3))
    for cell, (xx, xy, xz, yy, yz, zz) in enumerate(q.data.reshape(-1, 6)):
        block = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) + q.prior.ravel()[cell] * np.eye(3)
        found[3 * cell : 3 * cell + 3, 3 * cell : 3 * cell + 3] += block
    return found


def test_draws_have_the_covariance_of_the_quadratic() -> None:
    """Variances of every cell and direction, and correlations between neighbours, of 3000 draws."""
    q = quadratic()
    expected = np.linalg.inv(dense(q))
    count = 3000
    draws = draw_errors(q, RigidTransform.identity(), count=count, seed=1).vectors_mm.reshape(count, -1)
    found = draws.T @ draws / count
    deviation = np.sqrt(np.diag(expected))
    correlation = (found - expected) / np.outer(deviation, deviation)
    # the sampling error of a covariance is at most sqrt(2 / count) of the deviations: five of them
    assert np.abs(correlation).max() < 5 * np.sqrt(2 / count)
    assert np.abs(draws.mean(axis=0) / deviation).max() < 5 / np.sqrt(count)


def test_spread_and_fields() -> None:
    """T(p + u + e): the error is turned with the patient; the spread is its root mean square length."""
    pose = RigidTransform.from_parameters(translation_mm=(3.0, -2.0, 1.0), rotation_deg=(0.0, 0.0, 90.0))
    draws = np.zeros((2, *LATTICE.shape, 3), dtype=np.float32)
    draws[0, ..., 0], draws[1, ..., 1] = 2.0, -1.0
    samples = DisplacementSamples(draws, LATTICE, pose)
    forward = DisplacementField.from_rigid(pose, LATTICE)
    fields = list(samples.fields(forward))
    point = np.array([1.0, 2.0, 3.0])
    for field, error in zip(fields, np.array([[2.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), strict=True):
        np.testing.assert_allclose(field.apply(point), pose.apply(point + error), atol=1e-4)
    np.testing.assert_allclose(samples.spread_mm(LATTICE).array, VOXEL_SHARE * np.sqrt((4.0 + 1.0) / 2), rtol=1e-5)


def test_the_match_does_not_depend_on_its_draws_and_they_repeat() -> None:
    anatomy = Anatomy()
    ct, pose = planning_ct(anatomy), RigidTransform.from_parameters(translation_mm=(2.0, 1.0, -3.0))
    day = image_of_day(anatomy, pose, loss=WeightLoss(4.0), diameter_mm=220.0)
    plain = register_deformable(ct, day, initial=pose)
    first, again = (register_deformable(ct, day, initial=pose, samples=3, seed=5) for _ in range(2))
    assert plain.samples is None and first.samples is not None and again.samples is not None
    np.testing.assert_array_equal(plain.moving_from_fixed.vectors_mm, first.moving_from_fixed.vectors_mm)
    np.testing.assert_array_equal(first.samples.vectors_mm, again.samples.vectors_mm)
    # air beside the patient says nothing: it is less certain than the patient
    spread = first.samples.spread_mm(ct.grid).array
    inside, outside = ct.array > -300, ct.array < -900
    assert np.median(spread[inside]) < 0.7 * np.median(spread[outside])
    assert np.isfinite(spread).all()
