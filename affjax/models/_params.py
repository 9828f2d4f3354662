"""Networks as plain functions: a definition, and parameters as nested dicts of arrays.

NNX modules are built once, abstractly, and split; only the definition is kept. Calling
is `nnx.merge` and the module's own call, inside whatever `jax.jit` the caller uses.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from affjax.nn import NoRngs

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Definition:
  """A network without its numbers.

  Attributes:
    graph: NNX's description of the module.
    shapes: Parameters as a nested dict of `jax.ShapeDtypeStruct`.
    initializers: Initializer of each parameter, by its path.
  """

  graph: Any
  shapes: Params
  initializers: Mapping[tuple[str, ...], Any]


def define(make: Callable[[nnx.Rngs], nnx.Module]) -> Definition:
  """Builds a module of shapes: no array is made, nothing is traced or compiled.

  Args:
    make: Builds the module. All of its state must be parameters of the
      layers of `affjax.nn`.
  """
  module = make(NoRngs())
  graph, state = nnx.split(module, nnx.Param)
  initializers = {
    tuple(str(key) for key in path): variable.get_metadata()["initializer"]
    for path, variable in nnx.to_flat_state(state)
  }
  return Definition(graph, nnx.to_pure_dict(state), initializers)


def init(definition: Definition, seed: int) -> Params:
  """Returns fresh float32 parameters, drawn by NumPy in a fraction of a second.

  A parameter depends on `seed`, its path and its shape only: two networks that share a
  layer's name and shape start it alike, whatever else they hold.
  """

  def fill(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> np.ndarray:
    names = tuple(key.key for key in path)
    rng = np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])
    return definition.initializers[names].fill(rng, shape.shape)

  # `jnp.asarray` would compile a program for each shape.
  return jax.device_put(jax.tree_util.tree_map_with_path(fill, definition.shapes))


def apply(definition: Definition, params: Params, *args: Any, **options: Any) -> Any:
  """Calls the module with these parameters.

  Raises:
    ValueError: The parameters are of another architecture; the message names the first
      one that differs.
  """
  check(definition, params)
  return nnx.merge(definition.graph, params)(*args, **options)


def check(definition: Definition, params: Params) -> None:
  """Raises a ValueError unless names and shapes are those of the definition."""
  flatten = jax.tree_util.tree_leaves_with_path
  name = lambda path: "/".join(str(key.key) for key in path)
  want = {name(path): tuple(leaf.shape) for path, leaf in flatten(definition.shapes)}
  have = {name(path): tuple(leaf.shape) for path, leaf in flatten(params)}
  if want == have:
    return
  for path in sorted(want.keys() | have.keys()):
    if want.get(path) != have.get(path):
      raise ValueError(
        f"params are of another architecture: {path} should have shape "
        f"{want.get(path, 'nothing (it does not exist)')}, got "
        f"{have.get(path, 'nothing (it is missing)')}"
      )


def count(params: Params) -> int:
  """Returns the number of scalars."""
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
