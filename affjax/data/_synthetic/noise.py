"""Hashed lattice noise of points in space, which is the same at every resolution.

All functions are pure and safe under `jit` and `vmap`. A seed gives the same field
whatever the number of points: skin is the same in a map of 64 texels and in one of 512.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from affjax.types import ArrayLike

# Any integer, traced or not.
Seed = int | ArrayLike | np.integer

_PRIMES = (0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)


def hash_lattice(
  lattice: Sequence[Float[Array, "*b"]], seed: Seed
) -> UInt32[Array, "*b"]:
  """Returns a well-mixed 32-bit number for each lattice point (x, y, z)."""
  value = jnp.asarray(seed, jnp.uint32) * jnp.uint32(0x9E3779B1)
  for axis, prime in zip(lattice, _PRIMES, strict=True):
    value = value ^ (axis.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(prime))
  return _mix(value)


def uniform(bits: UInt32[Array, "*b"]) -> Float[Array, "*b"]:
  """Converts hash bits to float32 in [0, 1)."""
  return (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


def value_noise(points: Float[ArrayLike, "*b 3"], seed: Seed) -> Float[Array, "*b"]:
  """Returns smooth noise of unit lattice spacing in [-1, 1], with mean 0."""
  x, y, z = (jnp.asarray(points[..., axis]) for axis in range(3))
  return _lattice_noise(x, y, z, jnp.asarray(seed, jnp.uint32))


def _lattice_noise(
  x: Float[Array, "*b"],
  y: Float[Array, "*b"],
  z: Float[Array, "*b"],
  seed: UInt32[Array, ""],
) -> Float[Array, "*b"]:
  """As `value_noise`, by coordinates: CPUs are fast on long last axes."""
  # Eight corners written out, without an axis: twenty times faster on a CPU.
  sides, fade = [], []
  for v, prime in zip((x, y, z), _PRIMES, strict=True):
    base = jnp.floor(v)
    cell = base.astype(jnp.int32)
    sides.append([(cell + k).astype(jnp.uint32) * jnp.uint32(prime) for k in (0, 1)])
    fade.append(_quintic(v - base))
  start = seed * jnp.uint32(0x9E3779B1)

  def blend(axis: int, bits: Array) -> Array:
    if axis == 3:
      return uniform(_mix(bits))
    low, high = (blend(axis + 1, bits ^ side) for side in sides[axis])
    return low + (high - low) * fade[axis]

  return 2 * blend(0, start) - 1


def _quintic(t: Float[Array, "*b"]) -> Float[Array, "*b"]:
  return t * t * t * (t * (t * 6 - 15) + 10)


def fractal(
  points: Float[ArrayLike, "*b 3"],
  seed: Seed,
  *,
  frequency: float,
  octaves: int,
  gain: float = 0.5,
  finest: float = 1e9,
) -> Float[Array, "*b"]:
  """Returns a sum of octaves of `value_noise`; the first has weight 1.

  Args:
    points: Points, dm.
    seed: Seed of the field.
    frequency: Cycles per dm of the first octave; each next one is twice as fine.
    octaves: Number of octaves.
    gain: Weight of an octave relative to the previous one.
    finest: Frequency above which octaves fade out, so that a coarse map of the field
      is not aliased.
  """
  weights = [
    gain**k * min(max(2 - frequency * 2**k / finest, 0.0), 1.0) for k in range(octaves)
  ]
  kept = [k for k in range(octaves) if weights[k] > 0]
  if not kept:
    return jnp.zeros(points.shape[:-1], jnp.float32)
  seed = jnp.asarray(seed, jnp.uint32)
  place = [jnp.asarray(points[..., axis]) for axis in range(3)]

  def octave(k: Float[Array, ""]) -> Array:
    scale = frequency * jnp.exp2(k)
    x, y, z = (v * scale + 17.13 * k for v in place)
    return _lattice_noise(x, y, z, seed + 101 * k.astype(jnp.uint32))

  # Mapping one octave leaves a quarter of the code to compile.
  layers = jax.vmap(octave)(jnp.array(kept, jnp.float32))
  weight = jnp.array([weights[k] for k in kept], jnp.float32)
  return jnp.tensordot(weight, layers, 1)


def spots(
  points: Float[ArrayLike, "*b 3"],
  seed: Seed,
  *,
  frequency: float,
  radius: float,
  chance: float | Float[Array, "..."],
) -> Float[Array, "*b"]:
  """Returns soft round spots in [0, 1], at most one per cell of side `1 / frequency`.

  Args:
    points: Points, dm.
    seed: Seed of the field.
    frequency: Cells per dm.
    radius: Largest radius of a spot as a share of its cell, at most 0.5.
    chance: Share of cells with a spot; broadcasts to the points.
  """
  place = [jnp.asarray(points[..., axis]) * frequency for axis in range(3)]
  cell = [jnp.floor(v) for v in place]
  bits = hash_lattice(cell, seed)
  size = radius * (0.4 + 0.6 * uniform(_mix(bits + jnp.uint32(1))))
  distance2 = jnp.zeros_like(size)
  for axis in range(3):
    offset = uniform(_mix(bits + jnp.uint32(2 + axis)))
    center = size + offset * (1 - 2 * size)
    distance2 += (place[axis] - cell[axis] - center) ** 2
  distance = jnp.sqrt(distance2)
  strength = 0.5 + 0.5 * uniform(_mix(bits + jnp.uint32(5)))
  spot = jnp.clip(1.5 - 1.5 * distance / size, 0, 1) * strength
  return jnp.where(uniform(bits) < chance, spot, 0.0)


def _mix(value: UInt32[Array, "*b"]) -> UInt32[Array, "*b"]:
  """Mixes bits bijectively: every input bit affects every output bit."""
  value = (value ^ (value >> jnp.uint32(16))) * jnp.uint32(0x7FEB352D)
  value = (value ^ (value >> jnp.uint32(15))) * jnp.uint32(0x846CA68B)
  return value ^ (value >> jnp.uint32(16))
