"""Calls of the handlers, and the checks that all four primitives share."""

from collections.abc import Callable, Sequence

import jax
import jax.ffi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.native import dispatch

# nvdiffrast counts elements in 32 bits, and the images of a batch in 16 bits.
_MOST_ELEMENTS = 2**31 - 1
_MOST_IMAGES = 2**16 - 1


def absent() -> Float[Array, " 0"]:
  """Returns the value of an absent input or output of a handler."""
  return jnp.zeros((0,), jnp.float32)


def floats(*shape: int) -> jax.ShapeDtypeStruct:
  """Returns the description of a float32 result of a handler."""
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def ints(*shape: int) -> jax.ShapeDtypeStruct:
  """Returns the description of an int32 result of a handler."""
  return jax.ShapeDtypeStruct(shape, jnp.int32)


def handler(
  name: str, results: Sequence[jax.ShapeDtypeStruct], *args: Array, **attributes: int
) -> Sequence[jax.Array]:
  """Calls a handler of our layer.

  Args:
    name: Name of the handler without its prefix.
    results: Descriptions of all results.
    *args: Arguments of the handler.
    **attributes: Integer attributes of the handler.
  """
  call = jax.ffi.ffi_call(f"affjax_nvdiffrast_{name}", tuple(results))
  return call(*args, **{key: np.int64(value) for key, value in attributes.items()})


def batch_parallel(
  fn: Callable, args: Sequence, batched_in: Sequence[bool], batched_out: Sequence[bool]
) -> tuple[jax.Array, ...]:
  """Calls `fn(*args)`; vmap or several devices may divide the batch."""
  return dispatch.batch_parallel(fn, batched_in, batched_out)(*args)


def expect(name: str, array: jax.Array | np.ndarray, *shape: int | None) -> None:
  """Raises ValueError unless an array is float32, of a shape, and not too large.

  Args:
    name: The argument's name in the message.
    array: The array.
    *shape: The expected length of each axis, or None for any length.
  """
  fits = array.ndim == len(shape) and all(
    want in (None, got) for got, want in zip(array.shape, shape, strict=True)
  )
  if not fits:
    wanted = ", ".join("any" if want is None else str(want) for want in shape)
    raise ValueError(f"{name} must have shape [{wanted}], got {array.shape}")
  if array.dtype != jnp.float32:
    raise ValueError(
      f"{name} must be float32 for backend 'nvdiffrast', got {array.dtype}"
    )
  if array.size > _MOST_ELEMENTS or array.shape[0] > _MOST_IMAGES:
    raise ValueError(
      f"{name} must have at most 2^31 elements and 65535 images for backend "
      f"'nvdiffrast', got {array.shape}"
    )
