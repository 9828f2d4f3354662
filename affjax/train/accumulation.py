"""Gradients of means over a batch that goes through the networks part by part."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from affjax.losses import Mean
from affjax.train import sharding

Params = TypeVar("Params")
Parts = dict[str, Any]
Means = dict[str, Mean]


def divided(tree: Any, count: int, mesh: Mesh) -> Any:
  """Returns arrays `[count, N / count, ...]` of arrays `[N, ...]`.

  Part k holds the samples k, k + count, ...: each stays on its device.
  """
  if count == 1:
    return jax.tree.map(lambda rows: rows[None], tree)

  def divide(rows: jax.Array) -> jax.Array:
    shape = (rows.shape[0] // count, count, *rows.shape[1:])
    parts = jnp.moveaxis(rows.reshape(shape), 1, 0)
    spec = jax.sharding.PartitionSpec(None, *sharding.batched(mesh).spec)
    place = jax.sharding.NamedSharding(mesh, spec)
    return jax.lax.with_sharding_constraint(parts, place)

  return jax.tree.map(divide, tree)


def first(parts: Any) -> Any:
  """Returns the first part."""
  return jax.tree.map(lambda rows: rows[0], parts)


def value_and_grad(
  function: Callable[[Params, Any], tuple[Means, Any]],
  combine: Callable[[Means], tuple[Float[Array, ""], Any]],
  params: Params,
  parts: Any,
) -> tuple[Float[Array, ""], Any, Any, Params]:
  """Returns a function of means over the whole batch, and its gradient.

  Several parts go through `function` twice: first for the sums of the means, on which
  the slope of `combine` depends, then for the gradient at that slope. The result is
  that of the whole batch up to rounding, whatever the masks of the samples weigh.

  Args:
    function: `(params, part) -> (means, more)`: means over a part's samples.
    combine: Makes the number to differentiate of the means, and a report.
    params: Parameters.
    parts: Arrays with a leading axis over the parts.

  Returns:
    The number, the report, what `function` returned beside the means (with a leading
    axis over the parts), and the gradient.
  """
  if len(jax.tree.leaves(parts)[0]) == 1:
    only = first(parts)

    def whole(params: Params):
      means, more = function(params, only)
      value, report = combine(means)
      return value, (report, more)

    (value, (report, more)), slope = jax.value_and_grad(whole, has_aux=True)(params)
    return value, report, jax.tree.map(lambda x: x[None], more), slope

  def sums_of(_: None, part: Any) -> tuple[None, dict[str, Any]]:
    means, _ = function(params, part)
    return None, {k: (mean.total, mean.weight) for k, mean in means.items()}

  _, found = jax.lax.scan(sums_of, None, parts)
  sums = {k: Mean(jnp.sum(t), jnp.sum(w)) for k, (t, w) in found.items()}
  value, pull, report = jax.vjp(combine, sums, has_aux=True)
  (slopes,) = pull(jnp.ones_like(value))

  def step(carry: Params, part: Any) -> tuple[Params, Any]:
    _, pull, more = jax.vjp(lambda p: function(p, part), params, has_aux=True)
    return jax.tree.map(jnp.add, carry, *pull(slopes)), more

  slope, more = jax.lax.scan(step, jax.tree.map(jnp.zeros_like, params), parts)
  return value, report, more, slope
