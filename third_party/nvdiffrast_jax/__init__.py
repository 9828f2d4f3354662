"""nvdiffrast's CUDA kernels as JAX functions. Read README.md first, for the license.

The primitives take and return the same arrays as those of `affjax.render`, which call
them for `backend="nvdiffrast"`.
"""

from .antialiasing import antialias
from .interpolation import interpolate, interpolate_with_derivatives
from .library import build
from .rasterization import rasterize, rasterize_with_derivatives
from .sources import NotInstalledError
from .texturing import texture

__all__ = [
  "NotInstalledError",
  "antialias",
  "build",
  "interpolate",
  "interpolate_with_derivatives",
  "rasterize",
  "rasterize_with_derivatives",
  "texture",
]
