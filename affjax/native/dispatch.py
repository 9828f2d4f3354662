"""How a kernel is called: by platform, under vmap, and divided among devices."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.extend.core
import jax.ffi
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from affjax.native import compilers, library


def ready_platforms(name: str) -> tuple[str, ...]:
  """Platforms of this process on which a library's kernels can be called."""
  ready = (p for p in present_platforms() if library.status(name, p).ready)
  return tuple(ready)


@functools.cache
def present_platforms() -> tuple[str, ...]:
  """Platforms of which this process has devices, among those that have kernels."""
  return tuple(filter(_present, compilers.PLATFORMS))


def _present(platform: str) -> bool:
  try:
    return bool(jax.devices(platform))
  except RuntimeError:
    return False


def per_platform(
  name: str,
  native: Callable,
  portable: Callable,
  platforms: Sequence[str] = compilers.PLATFORMS,
) -> Callable:
  """`native` on those of `platforms` where the library is ready, elsewhere `portable`.

  Which of them runs is settled when the program is lowered, for the platform that it is
  lowered for.
  """

  def call(*args):
    ready = set(ready_platforms(name)) & set(platforms)
    branches = {platform: native for platform in sorted(ready)}
    if not branches:
      return portable(*args)
    return lax.platform_dependent(*args, default=portable, **branches)

  return call


def vary_alike(*args: jax.Array) -> tuple[jax.Array, ...]:
  """Makes arrays differ along the same axes of a `shard_map`; elsewhere does nothing.

  A kernel's results differ along all axes that any of its arguments differs along, so
  that gradients need the arguments to be alike. The cast's own gradient is a sum over
  devices, which is what an argument that is the same on all of them needs.
  """
  varying = frozenset().union(*(jax.typeof(a).manual_axis_type.varying for a in args))

  def cast(arg):
    missing = varying - jax.typeof(arg).manual_axis_type.varying
    return lax.pcast(arg, tuple(sorted(missing)), to="varying") if missing else arg

  return tuple(map(cast, args))


def ffi_call(target: str, results: Sequence[tuple], *args, **attributes):
  """Calls a handler; its results differ along the axes that its arguments do.

  Args:
    target: of a library that is ready.
    results: shape and dtype of each.
    *args: after `vary_alike`.
    **attributes: static NumPy scalars.
  """
  shapes = tuple(jax.ShapeDtypeStruct(*r) for r in results)
  out = jax.ffi.ffi_call(target, shapes)(*args, **attributes)
  return vary_alike(*out, args[0])[:-1]


def batch_parallel(
  fn: Callable, batched_in: Sequence[bool], batched_out: Sequence[bool]
) -> Callable:
  """Teaches a function of batches to run under vmap and on several devices.

  XLA cannot look into a kernel: without this it would copy the whole batch to every
  device, and `vmap` would call the kernel once for each example.

  Args:
    fn: of arrays; returns a tuple of arrays. It must treat the samples of a batch
      independently.
    batched_in: for each argument, whether its leading axis is the batch.
    batched_out: for each result, whether its leading axis is the batch; the others are
      sums over the batch.
  """
  call = custom_vmap(_divided(fn, tuple(batched_in), tuple(batched_out)))

  @call.def_vmap
  def _(axis_size: int, mapped: Sequence[bool], *args):
    shared = any(m and not b for m, b in zip(mapped, batched_in, strict=True))
    if shared or not all(batched_out):
      out = _one_by_one(call, mapped, args)
    else:
      out = _folded(call, axis_size, mapped, batched_in, args)
    return out, tuple(True for _ in batched_out)

  return call


def _one_by_one(call: Callable, mapped: Sequence[bool], args: Sequence[jax.Array]):
  def one(moving):
    rest = iter(moving)
    return call(*(next(rest) if m else a for m, a in zip(mapped, args, strict=True)))

  return lax.map(one, tuple(a for m, a in zip(mapped, args, strict=True) if m))


def _folded(call, axis_size: int, mapped, batched_in, args):
  """The mapped axis joins the batch."""

  def fold(is_mapped, is_batched, arg):
    if not is_batched:
      return arg
    if not is_mapped:
      arg = jnp.broadcast_to(arg, (axis_size, *arg.shape))
    return arg.reshape((axis_size * arg.shape[1], *arg.shape[2:]))

  out = call(*map(fold, mapped, batched_in, args))
  return tuple(unfolded(o, axis_size) for o in out)


def unfolded(array: jax.Array, size: int) -> jax.Array:
  """`[size n, ...]` as `[size, n, ...]`; any axis may be empty."""
  return array.reshape((size, array.shape[0] // size, *array.shape[1:]))


def _divided(
  fn: Callable, batched_in: tuple[bool, ...], batched_out: tuple[bool, ...]
) -> Callable:
  """Each device runs `fn` on its share of the batch; sums are summed over devices."""

  def call(*args):
    closed = jax.make_jaxpr(fn)(*args)
    # `custom_partitioning` takes no constants: they become arguments.
    inner = closed.jaxpr
    inner = inner.replace(constvars=[], invars=[*inner.constvars, *inner.invars])
    run = jax.extend.core.jaxpr_as_fun(jax.extend.core.ClosedJaxpr(inner, []))
    count = len(closed.consts)
    flags = (*(False for _ in closed.consts), *batched_in)
    # A device's share is smaller, so that there `fn` is traced anew.
    share = lambda *a: fn(*a[count:])
    partitioned = custom_partitioning(lambda *a: tuple(run(*a)))
    partitioned.def_partition(
      partition=functools.partial(_partition, share, flags, batched_out),
      sharding_rule=functools.partial(_rule, flags, batched_out),
    )
    return partitioned(*closed.consts, *args)

  return call


def _partition(fn, batched_in, batched_out, mesh, arg_shapes, result_shape):
  """What each device does, and where arguments and results lie."""
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

  def lower(*args):
    out = fn(*args)
    return tuple(
      o if batched or not axes else lax.psum(o, axes)
      for o, batched in zip(out, batched_out, strict=True)
    )

  return mesh, lower, tuple(map(place, batched_out)), tuple(map(place, batched_in))


def _batch_axes(sharding) -> tuple[str, ...]:
  spec = tuple(getattr(sharding, "spec", ()))
  if not spec or spec[0] is None:
    return ()
  return (spec[0],) if isinstance(spec[0], str) else tuple(spec[0])


def _rule(batched_in, batched_out, mesh, arg_types, result_types) -> str:
  """Shardy's description: the batch may be divided, all other axes stay whole."""
  del mesh
  count = iter(range(1000))

  def axes(batched: bool, rank: int) -> str:
    names = [f"a{next(count)}" for _ in range(rank)]
    if batched and names:
      names[0] = "batch"
    return " ".join(names)

  def side(flags, types) -> str:
    return ", ".join(axes(b, len(t.shape)) for b, t in zip(flags, types, strict=True))

  return f"{side(batched_in, arg_types)} -> {side(batched_out, result_types)}"
