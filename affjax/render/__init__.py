"""A differentiable rasterizer: four primitives, and a head composed of them."""

from affjax.render._antialiasing import antialias
from affjax.render._head import (
  HeadBuffers,
  composite,
  group_of,
  head_buffers,
  keep_original,
  render_head,
)
from affjax.render._interpolation import interpolate
from affjax.render._peeling import over, peel
from affjax.render._rasterization import check_triangles, rasterize
from affjax.render._shading import shade
from affjax.render._texturing import texture

__all__ = [
  "HeadBuffers",
  "antialias",
  "check_triangles",
  "composite",
  "group_of",
  "head_buffers",
  "interpolate",
  "keep_original",
  "over",
  "peel",
  "rasterize",
  "render_head",
  "shade",
  "texture",
]
