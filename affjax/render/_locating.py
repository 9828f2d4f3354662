"""Place of each pixel in a known triangle, by kernels, with forward and reverse mode.

A kernel computes the values. The tangent is plain JAX inside a primitive that is linear
in the tangent: the primitive's transpose is the kernel for gradients, and its own
derivatives are those of plain JAX.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from affjax.native import dispatch
from affjax.render import _location, _native


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def located(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  derivatives: bool,
  backend: str,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w d"]]:
  """Computes `_location.located` of float32 vertices by the kernels of a backend.

  Args:
    pos: Clip-space vertices, float32.
    tri: Triangles, int32.
    ids: Index + 1 of the triangle that each pixel shows, int32.
    derivatives: Whether the second result is requested.
    backend: "auto", "cpp" or "cuda".

  Raises:
    RuntimeError: The kernel that `backend` names is not available here.
  """
  return _native.locate(pos, tri, ids, derivatives=derivatives, backend=backend)


@located.defjvp
def _(
  derivatives: bool, backend: str, primals: Sequence[Array], tangents: Sequence[Any]
) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
  pos, tri, ids = primals
  out = located(pos, tri, ids, derivatives, backend)
  dot = _push.bind(pos, tri, ids, tangents[0], derivatives=derivatives, backend=backend)
  return out, tuple(dot)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _pull(
  pos: Array, tri: Array, ids: Array, rast: Array, slopes: Array, backend: str
) -> Array:
  return _native.pull(pos, tri, ids, rast, slopes, backend=backend)


@_pull.defjvp
def _(
  backend: str, primals: Sequence[Array], tangents: Sequence[Any]
) -> tuple[Array, Array]:
  pos, tri, ids, *cotangents = primals
  pulled = lambda p, *c: _location.pulled(p, tri, ids, *c)
  moved = (tangents[0], *tangents[3:])
  return _pull(*primals, backend), jax.jvp(pulled, (pos, *cotangents), moved)[1]


# The primitive takes `(pos, tri, ids, dot)` as `_location.pushed` does and is linear in
# `dot`.
_push = jax.extend.core.Primitive("affjax_locate_push")
_push.multiple_results = True


def _pushed(*args: Any, derivatives: bool, backend: str) -> tuple[Array, Array]:
  del backend  # Only the transpose uses it.
  return _location.pushed(*args, derivatives=derivatives)


@_push.def_abstract_eval
def _(*args: Any, **options: Any):
  closed = jax.make_jaxpr(functools.partial(_pushed, **options))(*args)
  return closed.out_avals


@_push.def_impl
def _(*args: Any, **options: Any) -> tuple[Array, Array]:
  return jax.jit(functools.partial(_pushed, **options))(*args)


def _jvp(
  primals: Sequence[Array], tangents: Sequence[Any], **options: Any
) -> tuple[Sequence[Array], Sequence[Array]]:
  pos, tri, ids, dot = primals
  by_pos, by_dot = tangents[0], ad.instantiate_zeros(tangents[3])
  if isinstance(by_pos, ad.Zero):
    return _push.bind(*primals, **options), _push.bind(pos, tri, ids, by_dot, **options)
  run = lambda p, d: _pushed(p, tri, ids, d, **options)
  return jax.jvp(run, (pos, dot), (by_pos, by_dot))


def _transposed(
  cotangents: Sequence[Any],
  pos: Array,
  tri: Array,
  ids: Array,
  dot: Any,
  *,
  derivatives: bool,
  backend: str,
) -> list[Array | None]:
  del dot, derivatives
  rast, slopes = map(ad.instantiate_zeros, cotangents)
  return [None, None, None, _pull(pos, tri, ids, rast, slopes, backend)]


def _batched(args: Sequence[Array], axes: Sequence[Any], **options: Any):
  if axes[1] is not None or None in (axes[0], axes[2]):
    run = jax.vmap(functools.partial(_pushed, **options), in_axes=axes)
    return run(*args), (0, 0)
  # The mapped axis joins the batch, so this and its transpose remain one call each.
  size = args[0].shape[axes[0]]

  def fold(arg: Array, axis: int | None):
    if axis is None:
      arg = jnp.broadcast_to(arg, (size, *arg.shape))
    else:
      arg = jnp.moveaxis(arg, axis, 0)
    return arg.reshape((size * arg.shape[1], *arg.shape[2:]))

  pos, ids, dot = (fold(args[k], axes[k]) for k in (0, 2, 3))
  out = _push.bind(pos, args[1], ids, dot, **options)
  return [dispatch.unfolded(o, size) for o in out], (0, 0)


ad.primitive_jvps[_push] = _jvp
ad.primitive_transposes[_push] = _transposed
batching.primitive_batchers[_push] = _batched
mlir.register_lowering(_push, mlir.lower_fun(_pushed, multiple_results=True))
