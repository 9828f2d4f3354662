"""Conversion of rasters and vertices to and from PyTorch3D's conventions.

PyTorch3D's normalized device coordinates increase to the *left* and *up*, the shorter
side of the image has length 2, and z is the depth in view space. The images are the
same: row 0 is at the top, where `y/w = -1` here, and column 0 at the left, where
`x/w = -1` here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.render import _rasterization
from affjax.render._interpolation import interpolate
from affjax.types import ArrayLike


class Fragments(NamedTuple):
  """The result of `pytorch3d.renderer.MeshRasterizer`; all values are -1 where empty.

  Attributes:
    pix_to_face: Index into the faces of the whole batch, `image T + triangle`, int32.
    zbuf: View-space depth.
    bary_coords: Perspective-correct weights of the three corners.
    dists: Minus the squared distance to the triangle's nearest edge in the image, in
      squared NDC units.
  """

  pix_to_face: Int[Array, "b h w k"]
  zbuf: Float[Array, "b h w k"]
  bary_coords: Float[Array, "b h w k 3"]
  dists: Float[Array, "b h w k"]


def to_pytorch3d(
  rast: Float[Array, "b h w 4"] | Float[Array, "k b h w 4"],
  pos: Float[Array, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  *,
  depth: Float[Array, "b v"] | None = None,
) -> Fragments:
  """Converts a raster to the fragments that PyTorch3D returns with `blur_radius=0`.

  Args:
    rast: A raster, or the layers of `peel`, which become `faces_per_pixel`.
    pos: The clip-space vertices that were rasterized.
    tri: The triangles that were rasterized.
    depth: View-space depth of the vertices. None takes w, which is the depth of a
      perspective camera.

  Returns:
    Fragments for `torch.from_numpy` (cast `pix_to_face` to int64) or for any shader
    that is written for PyTorch3D's fragments; differentiable in `rast` and `pos`.

  Raises:
    ValueError: A shape is not as described.
  """
  layers = rast[None] if rast.ndim == 4 else rast
  _check(layers, pos, tri)
  if depth is None:
    depth = pos[..., 3]
  elif depth.shape != pos.shape[:2]:
    raise ValueError(f"depth must have shape {pos.shape[:2]}, got {depth.shape}")
  hit = layers[..., 3] > 0
  images = jnp.arange(pos.shape[0], dtype=jnp.int32)[None, :, None, None]
  face = images * tri.shape[0] + layers[..., 3].astype(jnp.int32) - 1
  height, width = layers.shape[2:4]
  attributes = jnp.concatenate([depth[..., None], _to_px(pos, (height, width))], -1)
  zbuf = jax.vmap(lambda r: interpolate(attributes[..., :1], r, tri)[..., 0])(layers)
  u, v = layers[..., 0], layers[..., 1]
  bary = jnp.stack([u, v, 1 - u - v], -1)
  unit = 2 / min(height, width)
  dists = -jax.vmap(lambda r: _edge_distance2(attributes[..., 1:], r, tri))(layers)
  return Fragments(
    *(
      jnp.moveaxis(jnp.where(hit.reshape(hit.shape + (1,) * (v.ndim - 4)), v, -1), 0, 3)
      for v in (face, zbuf, bary, dists * unit**2)
    )
  )


def from_pytorch3d(
  pix_to_face: Int[Array, "b h w k"],
  bary_coords: Float[Array, "b h w k 3"],
  pos: Float[Array, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
) -> Float[Array, "k b h w 4"]:
  """Converts PyTorch3D's fragments to rasters for `interpolate` and `antialias`.

  Args:
    pix_to_face: Faces of meshes that share `tri`; -1 where empty.
    bary_coords: Perspective-correct weights.
    pos: Clip-space vertices, as `clip_from_pytorch3d` returns them.
    tri: Triangles of the meshes.

  Returns:
    One raster for each of `faces_per_pixel`, near to far.

  Raises:
    ValueError: A shape is not as described.
  """
  if bary_coords.shape != (*pix_to_face.shape, 3):
    raise ValueError(
      f"bary_coords must have shape {(*pix_to_face.shape, 3)}, got {bary_coords.shape}"
    )
  hit = pix_to_face >= 0
  weights = jnp.where(hit[..., None], bary_coords, 0)
  number = jnp.where(hit, pix_to_face % max(tri.shape[0], 1) + 1, 0)
  parts = [weights[..., :2], jnp.zeros_like(weights[..., :1]), number[..., None]]
  layers = jnp.moveaxis(jnp.concatenate(parts, -1), 3, 0)
  _check(layers, pos, tri)
  clip = jax.vmap(lambda r: interpolate(pos[..., 2:], r, tri))(layers)
  z = clip[..., 0] / jnp.where(clip[..., 1] == 0, 1.0, clip[..., 1])
  return layers.at[..., 2].set(jax.lax.stop_gradient(z))


def clip_from_pytorch3d(
  vertices: Float[Array, "b v 3"],
  resolution: tuple[int, int],
  *,
  near: float,
  far: float,
  perspective: bool = True,
) -> Float[Array, "b v 4"]:
  """Converts PyTorch3D's vertices to clip-space vertices that give the same image.

  Args:
    vertices: NDC x and y, and view-space depth, as PyTorch3D's rasterizer takes them
      (`MeshRasterizer.transform(meshes).verts_padded()`).
    resolution: (height, width) of the image, pixels.
    near: Depth of the near plane, > 0 in perspective; nearer surfaces are clipped.
    far: Depth of the far plane.
    perspective: Whether x and y were divided by the depth.

  Raises:
    ValueError: The shape is not as described, or the planes are not in order.
  """
  if vertices.ndim != 3 or vertices.shape[-1] != 3:
    raise ValueError(f"vertices must have shape [B, V, 3], got {vertices.shape}")
  if far <= near or (perspective and near <= 0):
    raise ValueError(f"near and far must be 0 < near < far, got {near} and {far}")
  height, width = resolution
  shorter = min(height, width)
  x, y, depth = (vertices[..., k] for k in range(3))
  x, y = -x * (shorter / width), -y * (shorter / height)
  span = far - near
  if not perspective:
    z, w = (2 * depth - near - far) / span, jnp.ones_like(depth)
  else:
    z, w = ((near + far) * depth - 2 * near * far) / span, depth
  return jnp.stack([x * w, y * w, z, w], -1)


def _to_px(pos: Array, size: tuple[int, int]):
  """Returns vertices in pixels, arbitrary for those at or behind the eye."""
  w = jnp.where(pos[..., 3] > 0, pos[..., 3], 1.0)
  x, y = ((pos[..., k] / w + 1) * (size[1 - k] / 2) - 0.5 for k in (0, 1))
  return jnp.stack([x, y], -1)


def _edge_distance2(px: Array, rast: Array, tri: ArrayLike):
  """Returns the squared distance of pixel centers to the triangle's edges, pixels²."""
  rows = jnp.asarray(tri, jnp.int32)[jnp.maximum(rast[..., 3].astype(jnp.int32) - 1, 0)]
  x, y = (jax.vmap(lambda p, i: p[i])(px[..., k], rows) for k in (0, 1))
  height, width = rast.shape[1:3]
  x -= jnp.arange(width, dtype=x.dtype)[None, None, :, None]
  y -= jnp.arange(height, dtype=y.dtype)[None, :, None, None]
  run, rise = jnp.roll(x, -1, -1) - x, jnp.roll(y, -1, -1) - y
  length2 = run * run + rise * rise
  along = -(x * run + y * rise) / jnp.where(length2 > 0, length2, 1.0)
  along = jnp.clip(along, 0, 1)
  return jnp.min((x + along * run) ** 2 + (y + along * rise) ** 2, -1)


def _check(layers: Array, pos: Array, tri: ArrayLike) -> None:
  if layers.ndim != 5 or layers.shape[-1] != 4:
    raise ValueError(f"rast must have shape [(K,) B, H, W, 4], got {layers.shape}")
  if pos.ndim != 3 or pos.shape[-1] != 4 or pos.shape[0] != layers.shape[1]:
    raise ValueError(f"pos must have shape [{layers.shape[1]}, V, 4], got {pos.shape}")
  _rasterization.check_triangles("tri", tri, pos.shape[1], "vertices of pos")
