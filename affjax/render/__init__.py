"""A differentiable rasterizer as pure functions of arrays, for CPU and GPU.

The four primitives are `rasterize`, `interpolate`, `texture` and `antialias`; combine
them to render any mesh. `rasterize_with_derivatives` and `interpolate_with_derivatives`
also return what the mip-mapped filters of `texture` need. `peel` and `over` are for
transparent surfaces. `render_head` and `head_buffers` render a head with these
primitives, and `composite` lays the result over a photo. `affjax.render.pytorch3d`
converts to and from PyTorch3D's conventions.

A textured mesh, with positions `pos [B, V, 4]` in clip space:

    rast = rasterize(pos, tri, (256, 256))
    uv = interpolate(uvs, rast, tri_uv)
    mask = (rast[..., 3:] > 0).astype(tex.dtype)
    color = texture(tex, uv) * mask
    color = antialias(color, rast, pos, tri)

docs/rendering.md explains the conventions and has more examples.
"""

from affjax.render import pytorch3d
from affjax.render._antialiasing import antialias
from affjax.render._head import (
  HeadBuffers,
  composite,
  group_of,
  head_buffers,
  keep_original,
  paint_raster,
  render_head,
)
from affjax.render._interpolation import interpolate, interpolate_with_derivatives
from affjax.render._peeling import over, peel, peel_with_derivatives
from affjax.render._rasterization import (
  check_triangles,
  rasterize,
  rasterize_with_derivatives,
)
from affjax.render._shading import light_texture, shade
from affjax.render._texturing import texture

__all__ = [
  "HeadBuffers",
  "antialias",
  "check_triangles",
  "composite",
  "group_of",
  "head_buffers",
  "interpolate",
  "interpolate_with_derivatives",
  "keep_original",
  "light_texture",
  "over",
  "paint_raster",
  "peel",
  "peel_with_derivatives",
  "pytorch3d",
  "rasterize",
  "rasterize_with_derivatives",
  "render_head",
  "shade",
  "texture",
]
