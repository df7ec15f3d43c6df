"""Digital patients and their simulated courses, with known truth."""

from .digital_patient import SITES, DigitalPatient, Prescription, build_patient

__all__ = ["SITES", "DigitalPatient", "Prescription", "build_patient"]
