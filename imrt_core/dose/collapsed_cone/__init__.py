"""Collapsed-cone convolution of radiant energy: the dose that decisions rest on."""

from .engine import DirectionDose, cell_for, collapsed_cone_dose, direction_dose

__all__ = ["DirectionDose", "cell_for", "collapsed_cone_dose", "direction_dose"]
