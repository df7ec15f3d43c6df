"""Radiation physics in water: cross sections, and the energy-deposition kernels that the dose engines use."""
