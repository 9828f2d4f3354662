"""The embedded face networks: lists of nodes of eight operators.

The networks are data (see `experiments.assets.faces`), read without executing any of
it. A node of an unknown operator is an error at load time.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax import compilation, threads

Item = TypeVar("Item")

# Batch sizes on an accelerator.
_BATCHES = (8, 64)


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
  """Operators of a network; compared and hashed by identity.

  Attributes:
    nodes: Operators in order of computation; each names its inputs as indices of
      earlier nodes (-1 = the images) and its weights as indices.
    outputs: Indices of the output nodes by name.
  """

  nodes: tuple[Mapping[str, Any], ...]
  outputs: Mapping[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """A convolutional network as data; compared and hashed by identity.

  Attributes:
    size: Width and height of the input that it was trained with, px. The detector is
      fully convolutional and takes any multiple of 32 as well.
    graph: Operators.
    weights: Float32 arrays.
  """

  size: int
  graph: Graph
  weights: tuple[np.ndarray, ...]

  def __call__(self, images: Float[np.ndarray, "n h w 3"]) -> dict[str, Array]:
    """Returns the outputs by name; compiled once for each batch size."""
    return run(self.graph, self.weights, images)

  def map(
    self, image: Callable[[Item], Float[np.ndarray, "h w 3"]], items: Sequence[Item]
  ) -> list[dict[str, np.ndarray]]:
    """Returns the outputs for the image of each item.

    The number of items compiles nothing anew. A CPU takes image by image, one on each
    core: its caches hold the network's values of one, and a batch takes half as long
    again. An accelerator gets batches of 8 and 64, the last one filled up, and the next
    one is made while it works.

    Args:
      image: Function that makes the image of an item, called from several threads.
      items: Items, whose images have one size.
    """

    def outputs(chunk: tuple[Sequence[Item], int]) -> list[dict[str, np.ndarray]]:
      images = np.stack([image(item) for item in chunk[0]])
      rest = [(0, chunk[1] - len(images)), (0, 0), (0, 0), (0, 0)]
      found = {k: np.asarray(v) for k, v in self(np.pad(images, rest)).items()}
      return [{k: v[n] for k, v in found.items()} for n in range(len(images))]

    sizes = _batches()
    return [
      one for part in threads.mapped(outputs, _chunks(items, sizes)) for one in part
    ]


def _batches() -> tuple[int, ...]:
  return (1,) if jax.default_backend() == "cpu" else _BATCHES


def _chunks(
  items: Sequence[Item], sizes: Sequence[int]
) -> Iterator[tuple[Sequence[Item], int]]:
  """Yields parts of the items, and the batch size that each is filled up to."""
  start = 0
  while start < len(items):
    left = len(items) - start
    size = next((size for size in sizes if size >= left), sizes[-1])
    yield items[start : start + size], size
    start += size


def networks(asset: Mapping[str, np.ndarray]) -> dict[str, Network]:
  """Returns the networks of an asset by name.

  Args:
    asset: Arrays: `graph`, a JSON text as bytes, and weights `<network>/<number>`.

  Raises:
    ValueError: A node has an unknown operator.
  """
  graph = json.loads(bytes(asset["graph"]))
  return {name: _network(asset, name, entry) for name, entry in graph.items()}


def _network(
  asset: Mapping[str, np.ndarray], name: str, entry: Mapping[str, Any]
) -> Network:
  unknown = {node["op"] for node in entry["nodes"]} - _OPERATORS.keys()
  if unknown:
    raise ValueError(
      f"network {name!r} has unknown operators {sorted(unknown)}, expected some of "
      f"{sorted(_OPERATORS)}"
    )
  count = sum(len(node["weights"]) for node in entry["nodes"])
  weights = tuple(asset[f"{name}/{k}"].astype(np.float32) for k in range(count))
  return Network(entry["size"], Graph(tuple(entry["nodes"]), entry["outputs"]), weights)


@compilation.saved(static_argnames=("graph",))
def run(
  graph: Graph, weights: Sequence[Array | np.ndarray], images: Array | np.ndarray
) -> dict[str, Array]:
  """Returns the outputs of a network by name."""
  values: dict[int, Array] = {-1: jnp.asarray(images)}
  for k, node in enumerate(graph.nodes):
    inputs = [values[i] for i in node["inputs"]]
    own = [jnp.asarray(weights[i]) for i in node["weights"]]
    values[k] = _OPERATORS[node["op"]](node, inputs, own)
  return {name: values[k] for name, k in graph.outputs.items()}


def _conv(node: Mapping[str, Any], inputs: list[Array], own: list[Array]) -> Array:
  convolve = _depthwise if node["depthwise"] else _dense
  x = convolve(inputs[0], own[0], node["stride"], node["padding"])
  if node["bias"]:
    x = x + _like(own[1], x)
  if node["activation"] == "relu":
    x = jax.nn.relu(x)
  elif node["activation"] == "prelu":
    x = _prelu(x, own[2])
  return x


def _dense(x: Array, kernel: Array, stride: int, padding: str) -> Array:
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _depthwise(x: Array, kernel: Array, stride: int, padding: str) -> Array:
  """Convolves each channel, as a sum of shifted products.

  XLA's grouped convolution is 4-8 times slower on a CPU.
  """
  taps = kernel.shape[:2]
  widths = jax.lax.padtype_to_pads(x.shape[1:3], taps, (stride, stride), padding)
  x = jnp.pad(x, [(0, 0), *widths, (0, 0)])
  rows, columns = ((n - k) // stride for n, k in zip(x.shape[1:3], taps, strict=True))
  total = jnp.zeros((), x.dtype)
  for i in range(taps[0]):
    for j in range(taps[1]):
      shifted = x[
        :, i : i + rows * stride + 1 : stride, j : j + columns * stride + 1 : stride
      ]
      total = total + shifted * _like(kernel[i, j], x)
  return total


def _prelu(x: Array, slope: Array) -> Array:
  return jnp.where(x > 0, x, x * _like(slope, x))


def _like(vector: Array, x: Array) -> Array:
  """Returns a vector of channels with as many axes as `x`."""
  return vector.reshape((1,) * (x.ndim - 1) + (-1,))


def _max_pool(node: Mapping[str, Any], inputs: list[Array], own: list[Array]) -> Array:
  window = (1, node["stride"], node["stride"], 1)
  return jax.lax.reduce_window(
    inputs[0], -jnp.inf, jax.lax.max, window, window, "VALID"
  )


_OPERATORS: dict[str, Callable[..., Array]] = {
  "add": lambda node, inputs, own: inputs[0] + inputs[1],
  "conv": _conv,
  "max_pool": _max_pool,
  "pad": lambda node, inputs, own: jnp.pad(inputs[0], node["widths"]),
  "prelu": lambda node, inputs, own: _prelu(inputs[0], own[0]),
  "relu": lambda node, inputs, own: jax.nn.relu(inputs[0]),
  "reshape": lambda node, inputs, own: inputs[0].reshape(
    (len(inputs[0]), *node["shape"])
  ),
  "sigmoid": lambda node, inputs, own: jax.nn.sigmoid(inputs[0]),
}
