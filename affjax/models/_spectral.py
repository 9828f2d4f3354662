"""Spectral normalization: kernels whose largest singular value is one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.models._params import Params
from affjax.types import ArrayLike

# After ten steps the norm of a random 4096 x 512 matrix is right to 2 %.
_STEPS = 10


def normalized(params: Params) -> Params:
  """Returns the parameters with each `kernel` divided by its spectral norm.

  Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks": a
  network of such layers and rectifiers has a bounded slope.
  """

  def divided(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
    return leaf / spectral_norm(leaf) if path[-1].key == "kernel" else leaf

  return jax.tree_util.tree_map_with_path(divided, params)


def spectral_norm(kernel: Float[ArrayLike, "*k o"]) -> Float[Array, ""]:
  """Returns the largest singular value of a kernel as a matrix with O columns.

  Power iteration starts anew in each call, from the same vector, so that there is no
  state beside the parameters. The singular vectors count as constants in the gradient,
  as in the paper.
  """
  matrix = jnp.reshape(kernel, (-1, kernel.shape[-1]))
  fixed = jax.lax.stop_gradient(matrix)
  start = np.random.default_rng(0).normal(size=matrix.shape[1]).astype(np.float32)

  def step(_: Any, right: jax.Array) -> jax.Array:
    return _unit(fixed.T @ _unit(fixed @ right))

  right = jax.lax.fori_loop(0, _STEPS, step, jnp.asarray(start))
  left = _unit(fixed @ right)
  return jnp.maximum(left @ matrix @ right, 1e-12)


def _unit(vector: jax.Array) -> jax.Array:
  return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)
