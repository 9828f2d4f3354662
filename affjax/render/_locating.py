"""Where in a known triangle each pixel lies, by kernels, with derivatives both ways.

Values come from a kernel. The tangent is plain JAX, held together in a primitive that
is linear in it: its transpose is the kernel for gradients, and its own derivatives are
plain JAX's.
"""

import functools

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from affjax.native import dispatch
from affjax.render import _location, _native


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def located(pos, tri, ids, derivatives: bool, backend: str):
  """`_location.located` of float32 `pos`, by the kernels of a backend.

  Args:
    pos: clip-space vertices, float32.
    tri: triangles, int32.
    ids: of the triangles shown, int32.
    derivatives: whether the second result is wanted.
    backend: "auto", "cpp" or "cuda".

  Raises:
    RuntimeError: the kernel of that name cannot be had here; with the reason.
  """
  return _native.locate(pos, tri, ids, derivatives=derivatives, backend=backend)


@located.defjvp
def _(derivatives: bool, backend: str, primals, tangents):
  pos, tri, ids = primals
  out = located(pos, tri, ids, derivatives, backend)
  dot = _push.bind(pos, tri, ids, tangents[0], derivatives=derivatives, backend=backend)
  return out, tuple(dot)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _pull(pos, tri, ids, rast, slopes, backend: str):
  return _native.pull(pos, tri, ids, rast, slopes, backend=backend)


@_pull.defjvp
def _(backend: str, primals, tangents):
  pos, tri, ids, *cotangents = primals
  pulled = lambda p, *c: _location.pulled(p, tri, ids, *c)
  moved = (tangents[0], *tangents[3:])
  return _pull(*primals, backend), jax.jvp(pulled, (pos, *cotangents), moved)[1]


# Linear in its last argument; `(pos, tri, ids, dot)` as `_location.pushed`.
_push = jax.extend.core.Primitive("affjax_locate_push")
_push.multiple_results = True


def _pushed(*args, derivatives: bool, backend: str):
  del backend  # of the transpose
  return _location.pushed(*args, derivatives=derivatives)


@_push.def_abstract_eval
def _(*args, **options):
  closed = jax.make_jaxpr(functools.partial(_pushed, **options))(*args)
  return closed.out_avals


@_push.def_impl
def _(*args, **options):
  return jax.jit(functools.partial(_pushed, **options))(*args)


def _jvp(primals, tangents, **options):
  pos, tri, ids, dot = primals
  by_pos, by_dot = tangents[0], ad.instantiate_zeros(tangents[3])
  if isinstance(by_pos, ad.Zero):
    return _push.bind(*primals, **options), _push.bind(pos, tri, ids, by_dot, **options)
  run = lambda p, d: _pushed(p, tri, ids, d, **options)
  return jax.jvp(run, (pos, dot), (by_pos, by_dot))


def _transposed(cotangents, pos, tri, ids, dot, *, derivatives: bool, backend: str):
  del dot, derivatives
  cotangents = map(ad.instantiate_zeros, cotangents)
  return [None, None, None, _pull(pos, tri, ids, *cotangents, backend)]


def _batched(args, axes, **options):
  if axes[1] is not None or None in (axes[0], axes[2]):
    run = jax.vmap(functools.partial(_pushed, **options), in_axes=axes)
    return run(*args), (0, 0)
  # The mapped axis joins the batch, so that this stays one call and its transpose too.
  size = args[0].shape[axes[0]]

  def fold(arg, axis):
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
