"""Morphable models fitted to landmarks, many faces at once."""

from affjax.faces.fit.landmarks import Fit, fit

__all__ = ["Fit", "fit"]
