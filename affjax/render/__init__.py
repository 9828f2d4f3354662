"""A differentiable rasterizer: four primitives, and a head composed of them."""

from affjax.render.antialiasing import antialias
from affjax.render.interpolation import interpolate
from affjax.render.peeling import over, peel
from affjax.render.rasterization import rasterize
from affjax.render.texturing import texture

__all__ = ["antialias", "interpolate", "over", "peel", "rasterize", "texture"]
