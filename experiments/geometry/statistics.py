"""Measures the errors of what photos say about a head, for the fit to weigh them.

  python -m experiments.geometry.statistics --weights runs/geometry/train/weights.npz

Chooses the anchors, lets the geometry network and FaceMesh read photos of the bank that
they were not trained on, and fits `affjax.faces._dense_fit.anchors.Errors` to all errors
together: their mean by pose, their dependence on the identity, the part that many
numbers share (factor analysis with missing values by expectation maximization, Rubin and
Thayer 1982), and the variance of the rest. Writes `surface.npz`.
"""

import argparse
import pathlib
import time

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from affjax import files
from affjax.faces._dense_fit import anchors as anchoring
from affjax.faces._dense_fit import head_model
from affjax.geometry import rotation
from affjax.heads import MorphableModel, open_head, sample_expression
from experiments.geometry import anchors as choice
from experiments.geometry import observations

FACTORS, ITERATIONS = 24, 15
# Prior precisions of the mean by pose and by identity, in photos.
_BIAS, _SHRINKAGE = 0.3, 60.0
# Errors beyond so many deviations count as so large.
_WINSOR = 8.0
# Deviation of expression coefficients that the synthetic faces do not show.
_UNSEEN = 0.03


def main() -> None:
  """Measures and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--bank", type=pathlib.Path, default="runs/geometry/bank")
  parser.add_argument("--weights", type=pathlib.Path)
  parser.add_argument("--exact", action="store_true", help="a perfect network")
  parser.add_argument("--split", default="train")
  parser.add_argument("--first", type=int, default=0, help="first shard")
  parser.add_argument("--last", type=int, default=32, help="one more than the last")
  parser.add_argument("--mesh", type=pathlib.Path, help="cache of FaceMesh's points")
  parser.add_argument("--out", type=pathlib.Path, required=True)
  options = parser.parse_args()
  model = open_head("embedded")
  arrays = choice.arrays(model)
  prior = expression_prior(model)
  shrinkage = np.zeros((choice.MODES, 0), np.float32)
  anchors = anchoring.anchors(model, {**arrays, "shrinkage": shrinkage})
  weights = None if options.exact else loaded(options.weights)
  shards = range(options.first, options.last)
  sample = observations.sample(
    anchors, options.bank, options.split, shards, weights, options.mesh
  )
  measured = measure(anchors, sample)
  result = {**arrays, **prior, **measured, "calibration": np.float32(1)}
  with files.written_file(options.out) as partial, partial.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **result)


def loaded(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the network's weights."""
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name].astype(np.float32) for name in file.files}


def expression_prior(model: MorphableModel) -> dict[str, np.ndarray]:
  """Returns mean, and inverse root of the covariance, of random expressions."""
  drawn = sample_expression(np.random.default_rng(612), model, 20_000)
  covariance = np.cov(drawn.T) + _UNSEEN**2 * np.eye(drawn.shape[1])
  root = np.linalg.inv(np.linalg.cholesky(covariance))
  return {
    "expression_mean": drawn.mean(0).astype(np.float32),
    "expression_root": root.astype(np.float32),
  }


def standardized(
  anchors: anchoring.Anchors, sample: observations.Sample
) -> tuple[Float[np.ndarray, "n q"], Bool[np.ndarray, "n q"]]:
  """Returns errors in the units of `Errors`, and which numbers are known."""
  errors, known = [], []
  for k in range(0, len(sample.pose), 64):
    rows = slice(k, k + 64)
    o = type(sample.observed)(*(x[rows] for x in sample.observed))
    true = observations.numbers(
      anchors,
      sample.identity[rows, : choice.MODES],
      sample.expression[rows],
      sample.pose[rows],
      sample.distance[rows],
    )
    n = len(true)
    flat = lambda x: np.asarray(x).reshape(n, -1)
    told = np.concatenate([flat(o.places), flat(o.normals[..., :2]), flat(o.mesh)], 1)
    unit, seen = zip(
      *(head_model.scales(anchors, type(o)(*(x[j] for x in o))) for j in range(n)),
      strict=True,
    )
    errors.append((told - np.asarray(true)) / np.stack(unit))
    known.append(np.stack(seen) > 0)
  return np.concatenate(errors), np.concatenate(known)


def measure(
  anchors: anchoring.Anchors, sample: observations.Sample
) -> dict[str, np.ndarray]:
  """Returns the distribution of the errors, see `Errors`."""
  begun = time.monotonic()
  error, known = standardized(anchors, sample)
  turn = rotation.axis_angle_to_matrix(jnp.asarray(sample.pose[:, :3]))
  features = np.stack([np.asarray(anchoring.pose_features(t)) for t in turn])
  identity = sample.identity[:, : choice.MODES]
  spread = np.sqrt(_second(error, known))
  error = np.clip(error, -_WINSOR * spread, _WINSOR * spread)
  both = np.concatenate([features, identity], 1)
  ridge = np.r_[np.full(features.shape[1], _BIAS), np.full(choice.MODES, _SHRINKAGE)]
  by = regressed(error, known, both, ridge)
  left = error - both @ by
  factors, variance = factored(left, known)
  count = len(anchors.points)
  for name, part in (
    ("places", slice(0, 2 * count)),
    ("normals", slice(2 * count, 4 * count)),
    ("FaceMesh", slice(4 * count, None)),
  ):
    rms = lambda x, p=part: np.sqrt((x[:, p] ** 2).mean(where=known[:, p]))
    print(
      f"{name}: known {known[:, part].mean():.2f}, deviation {rms(error):.2f}, without "
      f"bias {rms(left):.2f}, independent {np.sqrt(variance[part].mean()):.2f}"
    )
  print(f"{len(error)} photos, {time.monotonic() - begun:.0f} s", flush=True)
  split = features.shape[1]
  half = lambda x: x.astype(np.float16)
  return {
    "bias": half(by[:split]),
    "shrinkage": half(by[split:]),
    "factors": half(factors),
    "variance": variance.astype(np.float32),
  }


def _second(error: np.ndarray, known: np.ndarray) -> Float[np.ndarray, " q"]:
  """Returns robust second moments, from the 90 % quantile of normal errors."""
  value = np.where(known, np.abs(error), np.nan)
  with np.errstate(all="ignore"):
    limit = np.nanquantile(value, 0.9, axis=0) / 1.645
  return np.nan_to_num(limit, nan=1.0) ** 2 + 1e-6


def regressed(
  error: Float[np.ndarray, "n q"],
  known: Bool[np.ndarray, "n q"],
  by: Float[np.ndarray, "n p"],
  ridge: Float[np.ndarray, " p"],
) -> Float[np.ndarray, "p q"]:
  """Returns the ridge regression of each number's errors where it is known."""
  n, p = by.shape
  products = (by[:, :, None] * by[:, None]).reshape(n, -1).astype(np.float32)
  right = by.T @ np.where(known, error, 0)
  out = np.zeros((p, error.shape[1]))
  for k in range(0, error.shape[1], 128):
    left = known[:, k : k + 128].T.astype(np.float32) @ products
    left = left.reshape(-1, p, p) + np.diag(ridge)
    out[:, k : k + 128] = np.linalg.solve(left, right[:, k : k + 128].T[..., None])[
      ..., 0
    ].T
  return out


def factored(
  error: Float[np.ndarray, "n q"], known: Bool[np.ndarray, "n q"], seed: int = 0
) -> tuple[Float[np.ndarray, "r q"], Float[np.ndarray, " q"]]:
  """Returns factors and independent variances of errors, some of them unknown."""
  n, q = error.shape
  value, there = np.where(known, error, 0), known.astype(float)
  start = (value**2).sum(0) / np.maximum(there.sum(0), 1) + 1e-4
  rng = np.random.default_rng(seed)
  factors = 0.3 * rng.normal(size=(FACTORS, q)) * np.sqrt(start)
  variance = start.copy()
  for _ in range(ITERATIONS):
    pairs = (factors[:, None] * factors[None] / variance).reshape(-1, q)
    precision = (there @ pairs.T).reshape(n, FACTORS, FACTORS) + np.eye(FACTORS)
    spread = np.linalg.inv(precision)
    mean = np.einsum("nrs,ns->nr", spread, (value / variance) @ factors.T)
    second = (mean[:, :, None] * mean[:, None] + spread).reshape(n, -1)
    left = (there.T @ second).reshape(q, FACTORS, FACTORS)
    # A factor that few photos show is drawn towards zero.
    left = left + np.eye(FACTORS)
    right = value.T @ mean
    factors = np.linalg.solve(left, right[..., None])[..., 0].T
    rest = (value**2).sum(0) - (factors * right.T).sum(0)
    variance = (rest + 4 * 0.25 * start) / (there.sum(0) + 4)
  return factors, variance


if __name__ == "__main__":
  main()
