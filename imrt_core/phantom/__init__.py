"""Digital patients and their simulated courses, with known truth."""

from ._inverse import planning_index_of_day
from .changes import AnatomyChange, HeadNeckChange, LungChange, PelvisChange
from .digital_patient import SITES, DigitalPatient, Prescription, build_patient
from .files import truth_of_fraction, write_fraction, write_patient, write_truth
from .imaging import Imager
from .simulate import SetupError, SimulatedFraction, bone_from_hu, daily_image, simulate_fraction

__all__ = [
    "SITES",
    "AnatomyChange",
    "DigitalPatient",
    "HeadNeckChange",
    "Imager",
    "LungChange",
    "PelvisChange",
    "Prescription",
    "SetupError",
    "SimulatedFraction",
    "bone_from_hu",
    "build_patient",
    "daily_image",
    "planning_index_of_day",
    "simulate_fraction",
    "truth_of_fraction",
    "write_fraction",
    "write_patient",
    "write_truth",
]
