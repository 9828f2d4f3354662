"""Fits of morphable models to landmarks, many faces at once."""

from affjax.faces._fit.landmarks import Fit, fit_faces
from affjax.faces._fit.model_points import check_fittable

__all__ = ["Fit", "check_fittable", "fit_faces"]
