"""Collapsed-cone convolution of radiant energy: the dose that decisions rest on."""

from .engine import DirectionDose, direction_dose

__all__ = ["DirectionDose", "direction_dose"]
