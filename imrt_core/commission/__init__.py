"""Commissioning: from measurements in water to a machine file with both engines' parameters and their residuals."""

from .run import Commissioned, commission_machine, commission_model

__all__ = ["Commissioned", "commission_machine", "commission_model"]
