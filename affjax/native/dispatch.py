"""Calls of kernels: by platform, under vmap, and divided among devices."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.extend.core
import jax.ffi
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from affjax.native import compilers, library

# Kernels take NumPy arrays as well.
_AnyArray = jax.Array | np.ndarray
# Functions of arrays that return a tuple of arrays: kernels and what replaces them.
ArrayFunction = Callable[..., tuple[jax.Array, ...]]
# Shape and dtype.
_Result = tuple[tuple[int, ...], DTypeLike]
R = TypeVar("R")


def ready_platforms(name: str) -> tuple[str, ...]:
  """Returns the platforms of this process on which a library is ready."""
  ready = (p for p in present_platforms() if library.status(name, p).ready)
  return tuple(ready)


@functools.cache
def present_platforms() -> tuple[str, ...]:
  """Returns the platforms with kernels for which this process has devices."""
  return tuple(filter(_present, compilers.PLATFORMS))


def _present(platform: str) -> bool:
  try:
    return bool(jax.devices(platform))
  except RuntimeError:
    return False


def per_platform(
  name: str,
  native: Callable[..., R],
  portable: Callable[..., R],
  platforms: Sequence[str] = compilers.PLATFORMS,
) -> Callable[..., R]:
  """Returns a function that calls a kernel, or portable code where there is no kernel.

  The choice is made when the program is lowered, for the platform of the lowering.

  Args:
    name: Name of the kernel's library.
    native: The function that calls the kernel.
    portable: The function for platforms where the library is not ready.
    platforms: The platforms on which the kernel may be called.
  """

  def call(*args: _AnyArray) -> R:
    ready = set(ready_platforms(name)) & set(platforms)
    branches = {platform: native for platform in sorted(ready)}
    if not branches:
      return portable(*args)
    return lax.platform_dependent(*args, default=portable, **branches)

  return call


def vary_alike(*args: _AnyArray) -> tuple[jax.Array, ...]:
  """Makes arrays vary along the same axes of a `shard_map`; does nothing elsewhere.

  A kernel's results vary along all axes along which any of its arguments varies, so
  gradients require that all arguments vary alike. The gradient of this cast is a sum
  over devices, which is right for an argument that is the same on all of them.
  """
  varying = frozenset().union(*(jax.typeof(a).manual_axis_type.varying for a in args))

  def cast(arg: _AnyArray) -> jax.Array:
    missing = varying - jax.typeof(arg).manual_axis_type.varying
    if not missing:
      return jnp.asarray(arg)
    return lax.pcast(arg, tuple(sorted(missing)), to="varying")

  return tuple(map(cast, args))


def ffi_call(
  target: str, results: Sequence[_Result], *args: _AnyArray, **attributes: np.generic
) -> tuple[jax.Array, ...]:
  """Calls a handler, whose results vary along the axes of its arguments.

  Args:
    target: FFI target of a library that is ready.
    results: Shape and dtype of each result.
    *args: Arguments that `vary_alike` returned.
    **attributes: Static NumPy scalars.
  """
  shapes = tuple(jax.ShapeDtypeStruct(*r) for r in results)
  out = jax.ffi.ffi_call(target, shapes)(*args, **attributes)
  return vary_alike(*out, args[0])[:-1]


def batch_parallel(
  fn: ArrayFunction, batched_in: Sequence[bool], batched_out: Sequence[bool]
) -> ArrayFunction:
  """Returns a function of batches that runs under vmap and on several devices.

  XLA does not know what a kernel computes. Without this wrapper it would copy the whole
  batch to every device, and `vmap` would call the kernel once for each example.

  Args:
    fn: A function of arrays that returns a tuple of arrays and treats the samples of a
      batch independently.
    batched_in: Whether the leading axis is the batch, for each argument.
    batched_out: Whether the leading axis is the batch, for each result; the other
      results are sums over the batch.
  """
  call = custom_vmap(_divided(fn, tuple(batched_in), tuple(batched_out)))

  @call.def_vmap
  def _(
    axis_size: int, mapped: Sequence[bool], *args: _AnyArray
  ) -> tuple[tuple[jax.Array, ...], tuple[bool, ...]]:
    shared = any(m and not b for m, b in zip(mapped, batched_in, strict=True))
    if shared or not all(batched_out):
      out = _one_by_one(call, mapped, args)
    else:
      out = _folded(call, axis_size, mapped, batched_in, args)
    return out, tuple(True for _ in batched_out)

  return call


def _one_by_one(
  call: ArrayFunction, mapped: Sequence[bool], args: Sequence[_AnyArray]
) -> tuple[jax.Array, ...]:
  def one(moving: tuple[_AnyArray, ...]) -> tuple[jax.Array, ...]:
    rest = iter(moving)
    return call(*(next(rest) if m else a for m, a in zip(mapped, args, strict=True)))

  return lax.map(one, tuple(a for m, a in zip(mapped, args, strict=True) if m))


def _folded(
  call: ArrayFunction,
  axis_size: int,
  mapped: Sequence[bool],
  batched_in: Sequence[bool],
  args: Sequence[_AnyArray],
) -> tuple[jax.Array, ...]:
  """Calls once, with the mapped axis joined with the batch."""

  def fold(is_mapped: bool, is_batched: bool, arg: _AnyArray) -> _AnyArray:
    if not is_batched:
      return arg
    if not is_mapped:
      arg = jnp.broadcast_to(arg, (axis_size, *arg.shape))
    return arg.reshape((axis_size * arg.shape[1], *arg.shape[2:]))

  out = call(*map(fold, mapped, batched_in, args))
  return tuple(unfolded(o, axis_size) for o in out)


def unfolded(array: jax.Array, size: int) -> jax.Array:
  """Reshapes `[size n, ...]` to `[size, n, ...]`; any axis may be empty."""
  return array.reshape((size, array.shape[0] // size, *array.shape[1:]))


def _divided(
  fn: ArrayFunction, batched_in: tuple[bool, ...], batched_out: tuple[bool, ...]
) -> ArrayFunction:
  """Returns a function that divides the batch and adds sums over devices."""

  def call(*args: _AnyArray) -> tuple[jax.Array, ...]:
    closed = jax.make_jaxpr(fn)(*args)
    # `custom_partitioning` accepts no constants, so they become arguments.
    inner = closed.jaxpr
    inner = inner.replace(constvars=[], invars=[*inner.constvars, *inner.invars])
    run = jax.extend.core.jaxpr_as_fun(jax.extend.core.ClosedJaxpr(inner, []))
    count = len(closed.consts)
    flags = (*(False for _ in closed.consts), *batched_in)
    # A device's share is smaller than the batch, so `fn` is traced again for it.
    share = lambda *a: fn(*a[count:])
    partitioned = custom_partitioning(lambda *a: tuple(run(*a)))
    partitioned.def_partition(
      partition=functools.partial(_partition, share, flags, batched_out),
      sharding_rule=functools.partial(_rule, flags, batched_out),
    )
    return partitioned(*closed.consts, *args)

  return call


def _partition(
  fn: ArrayFunction,
  batched_in: Sequence[bool],
  batched_out: Sequence[bool],
  mesh: Mesh,
  arg_shapes: Sequence[jax.ShapeDtypeStruct],
  result_shape: Any,
) -> tuple[Mesh, ArrayFunction, tuple[NamedSharding, ...], tuple[NamedSharding, ...]]:
  """Returns each device's function, and the shardings of results and arguments."""
  del result_shape
  found = (
    _batch_axes(arg.sharding)
    for arg, batched in zip(arg_shapes, batched_in, strict=True)
    if batched
  )
  axes = next(filter(None, found), ())

  def place(batched: bool) -> NamedSharding:
    spec = PartitionSpec(axes) if axes and batched else PartitionSpec()
    return NamedSharding(mesh, spec)

  def lower(*args: _AnyArray) -> tuple[jax.Array, ...]:
    out = fn(*args)
    return tuple(
      o if batched or not axes else lax.psum(o, axes)
      for o, batched in zip(out, batched_out, strict=True)
    )

  return mesh, lower, tuple(map(place, batched_out)), tuple(map(place, batched_in))


def _batch_axes(sharding: jax.sharding.Sharding) -> tuple[str, ...]:
  spec = tuple(getattr(sharding, "spec", ()))
  if not spec or spec[0] is None:
    return ()
  return (spec[0],) if isinstance(spec[0], str) else tuple(spec[0])


def _rule(
  batched_in: Sequence[bool],
  batched_out: Sequence[bool],
  mesh: Mesh,
  arg_types: Sequence[Any],
  result_types: Sequence[Any],
) -> str:
  """Returns Shardy's rule: the batch may be divided, all other axes stay whole."""
  del mesh
  count = iter(range(1000))

  def axes(batched: bool, rank: int) -> str:
    names = [f"a{next(count)}" for _ in range(rank)]
    if batched and names:
      names[0] = "batch"
    return " ".join(names)

  def side(flags: Sequence[bool], types: Sequence[Any]) -> str:
    return ", ".join(axes(b, len(t.shape)) for b, t in zip(flags, types, strict=True))

  return f"{side(batched_in, arg_types)} -> {side(batched_out, result_types)}"
