"""Commissioning: from measurements in water to a machine file with both engines' parameters and their residuals."""

from .run import Commissioned, commission_model, commission_machine

__all__ = ["Commissioned", "commission_machine", "commission_model"]
