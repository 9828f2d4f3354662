"""Histograms of arrays, for the log."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from affjax.types import ArrayLike

_BINS = 64


@dataclasses.dataclass(frozen=True)
class Histogram:
  """How the values of an array are spread.

  Attributes:
    edges: Edges of the bins, ascending.
    counts: Number of values in each bin.
    mean: Mean of the values.
    square: Mean of their squares.
  """

  edges: Float[np.ndarray, " n_plus_1"]
  counts: Int[np.ndarray, " n"]
  mean: float
  square: float

  def json(self) -> dict[str, Any]:
    """Returns the least and the largest value, and the counts between them."""
    low, high = float(self.edges[0]), float(self.edges[-1])
    return {"low": low, "high": high, "counts": self.counts.tolist()}

  def raw(self) -> dict[str, Any]:
    """Returns the arguments of TensorBoard's `add_histogram_raw`."""
    number = int(self.counts.sum())
    return {
      "min": float(self.edges[0]),
      "max": float(self.edges[-1]),
      "num": number,
      "sum": self.mean * number,
      "sum_squares": self.square * number,
      # TensorBoard names a bin by its upper edge.
      "bucket_limits": self.edges[1:].tolist(),
      "bucket_counts": self.counts.tolist(),
    }


def histogram(values: Float[ArrayLike, "..."]) -> Histogram | None:
  """Returns the histogram of 64 equal bins from the least to the largest finite value.

  Args:
    values: The values; those that are not finite are left out. A constant array has
      bins of width 1/64 about it, and one without finite values no histogram.
  """
  flat = np.asarray(values, np.float64).ravel()
  flat = flat[np.isfinite(flat)]
  if not flat.size:
    return None
  counts, edges = np.histogram(flat, _BINS)
  return Histogram(edges, counts, float(flat.mean()), float(np.mean(flat**2)))


def of_trees(trees: Any) -> dict[str, Histogram]:
  """Returns the histogram of each array of a nested dict that has one, by its path."""
  leaves = jax.tree_util.tree_leaves_with_path(trees)
  name = lambda path: "/".join(str(key.key) for key in path)
  found = {f"histogram/{name(path)}": histogram(leaf) for path, leaf in leaves}
  return {path: one for path, one in found.items() if one is not None}
