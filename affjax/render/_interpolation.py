"""Interpolation of vertex attributes at the pixels of a raster."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.render import _nvdiffrast, _rasterization
from affjax.render._mixing import mix
from affjax.types import ArrayLike


def interpolate(
  attr: Float[ArrayLike, "b_or_1 v a"],
  rast: Float[ArrayLike, "b h w 4"],
  tri: Int[ArrayLike, "t 3"],
  *,
  backend: str = "auto",
) -> Float[Array, "b h w a"]:
  """Interpolates vertex attributes at each pixel with the raster's weights.

  Args:
    attr: Attributes `[B or 1, V, A]`, one row per vertex; a batch of 1 is shared by all
      images.
    rast: The raster that `rasterize` returned.
    tri: Triangles as indices into `attr`. They may differ from the rasterized ones, as
      UVs have vertices of their own, if row `t` is the same triangle in both.
    backend: "auto" or "xla", which are the same, or "nvdiffrast", if the user has
      installed it.

  Returns:
    Attributes `[B, H, W, A]` in the dtype of `attr`, zero where the raster is empty;
    differentiable in `attr` and `rast`.

  Raises:
    ValueError: A shape or the backend is not as described, or a concrete `tri` has an
      index outside `attr`.
  """
  attr, rast = _checked(attr, rast, tri)
  if _nvdiffrast.wanted(backend, "auto", "xla"):
    return _nvdiffrast.adapter().interpolate(attr, rast, tri)
  if tri.shape[0] == 0:
    return jnp.zeros((*rast.shape[:3], attr.shape[-1]), attr.dtype)
  return _weighted(_corners(attr, rast, tri), rast)


def interpolate_with_derivatives(
  attr: Float[ArrayLike, "b_or_1 v a"],
  rast: Float[ArrayLike, "b h w 4"],
  tri: Int[ArrayLike, "t 3"],
  derivatives: Float[ArrayLike, "b h w 4"],
  *,
  backend: str = "auto",
) -> tuple[Float[Array, "b h w a"], Float[Array, "b h w a 2"]]:
  """Interpolates as `interpolate` does and also returns screen-space derivatives.

  Args:
    attr: As for `interpolate`.
    rast: The raster that `rasterize_with_derivatives` returned.
    tri: As for `interpolate`.
    derivatives: The derivatives that `rasterize_with_derivatives` returned.
    backend: As for `interpolate`.

  Returns:
    The attributes, and their derivatives `[B, H, W, A, 2]` per pixel to the right and
    down; differentiable in all float arguments. The derivatives of UVs are the
    `uv_derivatives` of `texture`.

  Raises:
    ValueError: As for `interpolate`.
  """
  attr, rast = _checked(attr, rast, tri)
  if derivatives.shape != rast.shape:
    raise ValueError(
      f"derivatives must have rast's shape {rast.shape}, got {derivatives.shape}"
    )
  derivatives = jnp.asarray(derivatives)
  if _nvdiffrast.wanted(backend, "auto", "xla"):
    adapter = _nvdiffrast.adapter()
    return adapter.interpolate_with_derivatives(attr, rast, tri, derivatives)
  if tri.shape[0] == 0:
    value = jnp.zeros((*rast.shape[:3], attr.shape[-1]), attr.dtype)
    return value, jnp.zeros((*value.shape, 2), attr.dtype)
  corners = _corners(attr, rast, tri)
  by_u, by_v = corners[0] - corners[2], corners[1] - corners[2]
  slopes = [
    mix([derivatives[..., k], derivatives[..., k + 2]], [by_u, by_v]) for k in (0, 1)
  ]
  return _weighted(corners, rast), jnp.stack(slopes, -1)


def _checked(attr: ArrayLike, rast: ArrayLike, tri: ArrayLike) -> tuple[Array, Array]:
  """Returns `attr` and `rast` as arrays of JAX; ValueError if they do not fit."""
  if attr.ndim != 3 or attr.shape[0] not in (1, rast.shape[0]):
    raise ValueError(
      f"attr must have shape [1 or {rast.shape[0]}, V, A], got {attr.shape}"
    )
  _rasterization.check_triangles("tri", tri, attr.shape[1], "vertices of attr")
  return jnp.asarray(attr), jnp.asarray(rast)


def _corners(attr: Array, rast: Array, tri: ArrayLike) -> list[Array]:
  """Returns the attributes of each pixel's three corners, zeros where it is empty."""
  tri = jnp.asarray(tri, jnp.int32)
  triangle = rast[..., 3].astype(jnp.int32) - 1
  rows = tri[jnp.maximum(triangle, 0)]
  # Empty pixels read out of range and get zeros: the backward pass adds nothing there.
  rows = jnp.where(triangle[..., None] >= 0, rows, attr.shape[1])
  pick = lambda values, i: values.at[i].get(mode="fill", fill_value=0)
  shared = attr.shape[0] == 1
  return [
    pick(attr[0], rows[..., k]) if shared else jax.vmap(pick)(attr, rows[..., k])
    for k in range(3)
  ]


def _weighted(corners: list[Array], rast: Array) -> Array:
  u, v = rast[..., 0], rast[..., 1]
  return mix([u, v, 1 - u - v], corners)
