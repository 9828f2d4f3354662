"""How a kernel is called: by platform, under vmap, and divided among devices."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from affjax.native import compilers, library


def ready_platforms(name: str) -> tuple[str, ...]:
  """Platforms of this process on which a library's kernels can be called."""
  return tuple(
    platform
    for platform in compilers.PLATFORMS
    if _present(platform) and library.status(name, platform).ready
  )


@functools.cache
def _present(platform: str) -> bool:
  try:
    return bool(jax.devices(platform))
  except RuntimeError:
    return False


def per_platform(name: str, native: Callable, portable: Callable) -> Callable:
  """`native` where the library has kernels for the platform, elsewhere `portable`.

  Which of them runs is settled when the program is lowered, for the platform that it is
  lowered for.
  """

  def call(*args):
    branches = {platform: native for platform in ready_platforms(name)}
    if not branches:
      return portable(*args)
    return lax.platform_dependent(*args, default=portable, **branches)

  return call


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
  divided = _divided(fn, tuple(batched_in), tuple(batched_out))
  call = custom_vmap(divided)

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
    return arg.reshape((-1, *arg.shape[2:]))

  out = call(*map(fold, mapped, batched_in, args))
  return tuple(o.reshape((axis_size, -1, *o.shape[1:])) for o in out)


def _divided(
  fn: Callable, batched_in: tuple[bool, ...], batched_out: tuple[bool, ...]
) -> Callable:
  """Each device runs `fn` on its share of the batch; sums are summed over devices."""

  def partition(mesh, arg_shapes, result_shape):
    axes = next(
      (
        _batch_axes(arg.sharding)
        for arg, batched in zip(arg_shapes, batched_in, strict=True)
        if batched and _batch_axes(arg.sharding)
      ),
      (),
    )

    def place(batched: bool) -> NamedSharding:
      return NamedSharding(
        mesh, PartitionSpec(axes) if axes and batched else PartitionSpec()
      )

    def lower(*args):
      out = fn(*args)
      if not axes:
        return out
      return tuple(
        o if batched else lax.psum(o, axes)
        for o, batched in zip(out, batched_out, strict=True)
      )

    del result_shape
    return mesh, lower, tuple(map(place, batched_out)), tuple(map(place, batched_in))

  divided = custom_partitioning(fn)
  divided.def_partition(
    partition=partition,
    sharding_rule=functools.partial(_rule, batched_in, batched_out),
  )
  return divided


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
