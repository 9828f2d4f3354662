"""nvdiffrast's CUDA kernels as JAX functions; see README.md, licence first.

The four primitives take and give what those of `affjax.render` do, which reach them by
`backend="nvdiffrast"`.
"""

from .antialiasing import antialias
from .interpolation import interpolate
from .library import build
from .rasterization import rasterize
from .sources import NotInstalledError
from .texturing import texture

__all__ = [
  "NotInstalledError",
  "antialias",
  "build",
  "interpolate",
  "rasterize",
  "texture",
]
