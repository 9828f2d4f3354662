"""Morphable models fitted to landmarks, many faces at once."""

from affjax.faces.fit.landmarks import Fit, fit
from affjax.faces.fit.marks import check

__all__ = ["Fit", "check", "fit"]
