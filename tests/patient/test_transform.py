"""Rigid transforms and displacement fields."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.patient import DisplacementField, GeometryError, Grid, RigidTransform
from imrt_core.patient.transform import euler_deg_from_rotation, rotation_from_euler_deg

vector = st.tuples(*[st.floats(-100, 100)] * 3)
# About x the angle of the order Z·X·Y is unique within ±90°.
angles = st.tuples(st.floats(-89, 89), st.floats(-179, 179), st.floats(-179, 179))


def about(axis: int, degrees: float) -> np.ndarray:
    """Right-handed rotation about one axis, written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


@given(angles)
def test_euler_order_is_z_x_y(rotation):
    rx, ry, rz = rotation
    matrix = rotation_from_euler_deg(rotation)
    assert np.allclose(matrix, about(2, rz) @ about(0, rx) @ about(1, ry), atol=1e-12)
    assert np.allclose(rotation_from_euler_deg(euler_deg_from_rotation(matrix)), matrix, atol=1e-9)


@given(vector, angles, vector, vector)
def test_parameters_about_a_centre(translation, rotation, centre, point):
    transform = RigidTransform.from_parameters(translation_mm=translation, rotation_deg=rotation, centre_lps=centre)
    expected = rotation_from_euler_deg(rotation) @ (np.array(point) - centre) + centre + translation
    assert np.allclose(transform.apply(point), expected, atol=1e-9)
    assert np.allclose(transform.translation_mm(centre_lps=centre), translation, atol=1e-9)
    assert np.allclose(rotation_from_euler_deg(transform.rotation_deg()), transform.rotation, atol=1e-9)
    assert np.allclose(transform.inverse().apply(transform.apply(point)), point, atol=1e-8)


@given(vector, angles, vector, angles, vector)
def test_composition(t1, r1, t2, r2, point):
    b_from_a = RigidTransform.from_parameters(translation_mm=t1, rotation_deg=r1)
    c_from_b = RigidTransform.from_parameters(translation_mm=t2, rotation_deg=r2)
    assert np.allclose((c_from_b @ b_from_a).apply(point), c_from_b.apply(b_from_a.apply(point)), atol=1e-8)


def test_matrices_that_are_not_rigid_are_refused():
    for matrix in (np.diag([1, 1, 1.01, 1]), np.diag([1, 1, -1, 1]), np.full((4, 4), np.nan), np.eye(3)):
        with pytest.raises(GeometryError):
            RigidTransform.from_matrix(matrix)


GRID = Grid((4, 5, 6), (3.0, 3.0, 4.0), (-7.0, -6.0, -5.0))


@given(vector, st.tuples(*[st.floats(-10, 10)] * 3))
def test_a_rigid_motion_as_a_field(translation, rotation):
    motion = RigidTransform.from_parameters(translation_mm=translation, rotation_deg=rotation)
    field = DisplacementField.from_rigid(motion, GRID)
    points = GRID.to_lps(np.random.default_rng(2).uniform(0, np.array(GRID.shape[::-1]) - 1, (20, 3)))
    assert np.allclose(field.apply(points), motion.apply(points), atol=1e-4)
    # Beyond the grid the displacement of the edge holds.
    far = GRID.to_lps([-4.0, 2, 2])
    assert np.allclose(field.displacement_at(far), field.displacement_at(GRID.to_lps([0.0, 2, 2])), atol=1e-6)


def test_fields_that_do_not_fit_are_refused():
    with pytest.raises(GeometryError, match="fit its grid"):
        DisplacementField(np.zeros((4, 5, 6)), GRID)
    vectors = np.zeros((4, 5, 6, 3), np.float32)
    vectors[1, 2, 3, 0] = np.inf
    with pytest.raises(GeometryError, match="finite"):
        DisplacementField(vectors, GRID)
