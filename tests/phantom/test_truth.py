from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.patient import PATIENT_POSITIONS, IdentityError, RigidTransform
from imrt_core.phantom.truth import couch_motion, set_up

#: Where the machine's axes X, Y, Z point in the patient, in words: L/R, A/P, S/I (CLINICAL, "Couch shift").
AXES = {"HFS": "LSA", "HFP": "RSP", "FFS": "RIA", "FFP": "LIP"}
LPS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
numbers = st.floats(-15, 15)
angles = st.floats(-20, 20)


def test_fixed_example_of_the_clinical_definitions() -> None:
    # Anatomy found 10 mm left, 5 mm superior, 3 mm anterior of the machine isocentre, HFS.
    planned = np.array([12.0, -30.0, 41.0])
    found = set_up(
        planned_isocentre_lps=planned, machine_isocentre_lps=(0, 0, 0), offset_mm=(10, -3, 5), rotation_deg=(0, 0, 0)
    )
    motion = couch_motion(found, planned_isocentre_lps=planned, machine_isocentre_lps=(0, 0, 0), patient_position="HFS")
    assert motion.shift_mm == pytest.approx((-3, -5, -10))
    assert motion.rotation_deg == pytest.approx((0, 0, 0))


@given(
    position=st.sampled_from(PATIENT_POSITIONS),
    planned=st.tuples(numbers, numbers, numbers),
    machine=st.tuples(numbers, numbers, numbers),
    offset=st.tuples(numbers, numbers, numbers),
    rotation=st.tuples(angles, angles, angles),
)
def test_the_table_motion_brings_the_patient_back(
    position: str,
    planned: tuple[float, float, float],
    machine: tuple[float, float, float],
    offset: tuple[float, float, float],
    rotation: tuple[float, float, float],
) -> None:
    moving_from_fixed = set_up(
        planned_isocentre_lps=planned, machine_isocentre_lps=machine, offset_mm=offset, rotation_deg=rotation
    )
    motion = couch_motion(
        moving_from_fixed, planned_isocentre_lps=planned, machine_isocentre_lps=machine, patient_position=position
    )
    # A table on its own: machine coordinates of anatomy points, turned by three elementary rotations, then moved.
    machine_axes = np.array([LPS[letter] for letter in AXES[position]], dtype=float)
    anatomy = np.asarray(planned) + np.array([[0, 0, 0], [40, 0, 0], [0, 50, 0], [0, 0, 60]], dtype=float)
    seen = (moving_from_fixed.apply(anatomy) - np.asarray(machine)) @ machine_axes.T
    pitch, roll, yaw = motion.rotation_deg
    for axis, angle in ((1, roll), (0, pitch), (2, yaw)):
        seen = seen @ _rotation(axis, angle).T
    vertical, longitudinal, lateral = motion.shift_mm
    treated = seen + np.array([lateral, longitudinal, vertical])
    wanted = (anatomy - np.asarray(planned)) @ machine_axes.T
    assert np.allclose(treated, wanted, atol=1e-9)


def _rotation(axis: int, angle_deg: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = cosine, -sine, sine, cosine
    return matrix


def test_unknown_position_is_refused() -> None:
    with pytest.raises(IdentityError, match="LEFT"):
        couch_motion(
            RigidTransform.identity(),
            planned_isocentre_lps=(0, 0, 0),
            machine_isocentre_lps=(0, 0, 0),
            patient_position="LEFT",
        )
