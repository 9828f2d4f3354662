"""Hashed lattice noise of points in space: the same at every resolution.

All functions are pure, safe under `jit` and `vmap`, and give the same field for the
same seed whatever the number of points, which is why skin drawn with them is the same
skin in a map of 64 texels and in one of 512.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Bits: TypeAlias = Any  # uint32 arrays

_PRIMES = (0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)


def hash_lattice(lattice, seed) -> Bits:
  """One well-mixed 32-bit number for each lattice point (x, y, z) and seed."""
  value = jnp.asarray(seed, jnp.uint32) * jnp.uint32(0x9E3779B1)
  for axis, prime in zip(lattice, _PRIMES, strict=True):
    value = value ^ (axis.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(prime))
  return _mix(value)


def uniform(bits: Bits) -> Float[Array, "*b"]:
  """Hash bits as float32 in [0, 1)."""
  return (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


def value_noise(points: Float[Array, "*b 3"], seed) -> Float[Array, "*b"]:
  """Smooth noise of unit lattice spacing, mean 0, in [-1, 1], deviation about 0.4."""
  x, y, z = points[..., 0], points[..., 1], points[..., 2]
  return _lattice_noise(x, y, z, jnp.asarray(seed, jnp.uint32))


def _lattice_noise(x, y, z, seed) -> Float[Array, "*b"]:
  """Coordinates apart: arrays whose last axis is long are what a CPU is fast on."""
  # Eight corners written out, no axis over them: twenty times faster on a CPU.
  sides, fade = [], []
  for v, prime in zip((x, y, z), _PRIMES, strict=True):
    base = jnp.floor(v)
    cell = base.astype(jnp.int32)
    sides.append([(cell + k).astype(jnp.uint32) * jnp.uint32(prime) for k in (0, 1)])
    fade.append(_quintic(v - base))
  start = seed * jnp.uint32(0x9E3779B1)

  def blend(axis: int, bits):
    if axis == 3:
      return uniform(_mix(bits))
    low, high = (blend(axis + 1, bits ^ side) for side in sides[axis])
    return low + (high - low) * fade[axis]

  return 2 * blend(0, start) - 1


def _quintic(t):
  return t * t * t * (t * (t * 6 - 15) + 10)


def fractal(
  points: Float[Array, "*b 3"],
  seed,
  *,
  frequency: float,
  octaves: int,
  gain: float = 0.5,
  finest: float = 1e9,
) -> Float[Array, "*b"]:
  """Octaves of `value_noise`, the first of weight 1.

  Args:
    points: where, dm.
    seed: any integer, traced or not.
    frequency: of the first octave, cycles per dm; each next one is twice as fine.
    octaves: how many.
    gain: weight of an octave relative to the one before it.
    finest: frequencies above it fade out over an octave, so that a coarse map of the
      field is not aliased.
  """
  weights = [
    gain**k * min(max(2 - frequency * 2**k / finest, 0.0), 1.0) for k in range(octaves)
  ]
  kept = [k for k in range(octaves) if weights[k] > 0]
  if not kept:
    return jnp.zeros(points.shape[:-1], jnp.float32)
  seed = jnp.asarray(seed, jnp.uint32)

  def octave(k):
    scale = frequency * jnp.exp2(k)
    x, y, z = (points[..., axis] * scale + 17.13 * k for axis in range(3))
    return _lattice_noise(x, y, z, seed + 101 * k.astype(jnp.uint32))

  # One compiled octave, mapped: a quarter of the code to compile.
  layers = jax.vmap(octave)(jnp.array(kept, jnp.float32))
  weight = jnp.array([weights[k] for k in kept], jnp.float32)
  return jnp.tensordot(weight, layers, 1)


def spots(
  points: Float[Array, "*b 3"], seed, *, frequency: float, radius: float, chance
) -> Float[Array, "*b"]:
  """Soft round spots in [0, 1], at most one in a cell of side `1 / frequency`.

  Args:
    points: where, dm.
    seed: any integer.
    frequency: cells per dm.
    radius: largest radius of a spot as a share of its cell, at most 0.5.
    chance: share of cells with a spot, may be an array that broadcasts to the points.
  """
  place = [points[..., axis] * frequency for axis in range(3)]
  cell = [jnp.floor(v) for v in place]
  bits = hash_lattice(cell, seed)
  size = radius * (0.4 + 0.6 * uniform(_mix(bits + jnp.uint32(1))))
  distance2 = jnp.zeros_like(size)
  for axis in range(3):
    offset = uniform(_mix(bits + jnp.uint32(2 + axis)))
    centre = size + offset * (1 - 2 * size)
    distance2 += (place[axis] - cell[axis] - centre) ** 2
  distance = jnp.sqrt(distance2)
  strength = 0.5 + 0.5 * uniform(_mix(bits + jnp.uint32(5)))
  spot = jnp.clip(1.5 - 1.5 * distance / size, 0, 1) * strength
  return jnp.where(uniform(bits) < chance, spot, 0.0)


def _mix(value: Bits) -> Bits:
  """A bijective finaliser: every input bit reaches every output bit."""
  value = (value ^ (value >> jnp.uint32(16))) * jnp.uint32(0x7FEB352D)
  value = (value ^ (value >> jnp.uint32(15))) * jnp.uint32(0x846CA68B)
  return value ^ (value >> jnp.uint32(16))
