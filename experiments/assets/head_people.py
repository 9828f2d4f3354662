"""Plausible random people as sums of MakeHuman's targets.

Every factor has a prior: a standard deviation for each local target, small where a
target changes the skull or the weight of the body; proportions for age, sex and the
three ethnic targets. No factor goes beyond its bound.
"""

import functools

import numpy as np
from scipy import sparse

from experiments.assets.head_source import Source

# "a|b" is a pair of opposite targets, chosen by the sign of one weight; "x" alone is a
# target with a positive weight. The number is the standard deviation of the weight.
_PAIRS = {
  "head/head-age-decr|incr": 0.3,
  "head/head-angle-in|out": 0.08,
  "head/head-fat-decr|incr": 0.2,
  "head/head-back-scale-depth-decr|incr": 0.12,
  "head/head-scale-depth-decr|incr": 0.15,
  "head/head-scale-horiz-decr|incr": 0.15,
  "head/head-scale-vert-decr|incr": 0.12,
  "forehead/forehead-nubian-decr|incr": 0.04,
  "forehead/forehead-scale-vert-decr|incr": 0.06,
  "forehead/forehead-temple-decr|incr": 0.2,
  "forehead/forehead-trans-backward|forward": 0.2,
  "eyebrows/eyebrows-angle-down|up": 0.35,
  "eyebrows/eyebrows-trans-backward|forward": 0.35,
  "eyebrows/eyebrows-trans-down|up": 0.35,
  "chin/chin-bones-decr|incr": 0.3,
  "chin/chin-cleft-decr|incr": 0.25,
  "chin/chin-height-decr|incr": 0.3,
  "chin/chin-jaw-drop-decr|incr": 0.3,
  "chin/chin-prognathism-decr|incr": 0.25,
  "chin/chin-prominent-decr|incr": 0.3,
  "chin/chin-width-decr|incr": 0.3,
  "neck/neck-double-decr|incr": 0.25,
  "neck/neck-scale-depth-decr|incr": 0.2,
  "neck/neck-scale-horiz-decr|incr": 0.2,
}
_ONE_SIDED = {
  "head/head-diamond": 0.05,
  "head/head-invertedtriangular": 0.1,
  "head/head-oval": 0.1,
  "head/head-rectangular": 0.07,
  "head/head-round": 0.12,
  "head/head-square": 0.07,
  "head/head-triangular": 0.06,
  "chin/chin-triangle": 0.2,
}
# Whole folders of pairs: the standard deviation of most of them, and of some.
_NOSE, _NOSE_OTHER = 0.24, {"trans-": 0.18, "compression": 0.15, "flaring": 0.2}
_MOUTH, _MOUTH_OTHER = 0.28, {"trans-": 0.2, "ext": 0.25, "laugh": 0.25, "scale": 0.25}
_OTHER = {"mouth-trans-in|out": 0.0, "nose-trans-in|out": 0.0}
# Share of the deviation of "l-" and "r-" targets that differs between the sides.
_SIDES = {"eyes": 0.3, "cheek": 0.3, "ears": 0.25}
_SIDES_OTHER = {
  "eye-trans": 0.2,
  "eye-scale": 0.25,
  "eye-push": 0.2,
  "ear-shape": 0.2,
  "ear-trans": 0.2,
  "ear-rot": 0.2,
}
_ONE_SIDE_SHARE = 0.15
_ASYMMETRY = 0.12
_OPPOSITES = (
  ("decr", "incr"),
  ("in", "out"),
  ("down", "up"),
  ("backward", "forward"),
  ("concave", "convex"),
  ("compress", "uncompress"),
)
# Limit of the weights of local targets, standard deviations.
_BOUND = 2.2
_ETHNIC = ("african", "asian", "caucasian")


class People:
  """A sampler of shapes from a prior; it carries all targets over to the head at once.

  Args:
    source: the package.
    weights: sparse `[V, B]`, from base vertices to the head's.
  """

  def __init__(self, source: Source, weights: sparse.csr_matrix):
    self._source, self._weights = source, weights
    self._count = len(weights.indptr) - 1
    self._prior = _prior(source)

  @functools.cache  # noqa: B019
  def _target(self, name: str) -> np.ndarray:
    offsets = self._weights @ self._source.target(name)
    return offsets.astype(np.float32)

  def draw(self, rng: np.random.Generator) -> np.ndarray:
    """Offsets `[V, 3]`, dm, of one person from the base mesh."""
    total = np.zeros((self._count, 3), np.float32)
    for name, weight in {**self._macro(rng), **self._local(rng)}.items():
      total += np.float32(weight) * self._target(name)
    return total

  def _local(self, rng) -> dict[str, float]:
    weights: dict[str, float] = {}
    for (low, high), std in self._prior["pairs"]:
      value = _bounded(rng) * std
      weights[high if value > 0 else low] = abs(value)
    for (low, high), std in self._prior["sides"]:
      common = _bounded(rng) * np.sqrt(1 - _ONE_SIDE_SHARE**2)
      for side in ("l", "r"):
        value = (common + _ONE_SIDE_SHARE * _bounded(rng)) * std
        weights[(high if value > 0 else low).format(side)] = abs(value)
    for name, std in _ONE_SIDED.items():
      weights[name] = abs(_bounded(rng)) * std
    for left, right in self._prior["asymmetric"]:
      value = _bounded(rng) * _ASYMMETRY
      weights[left if value > 0 else right] = abs(value)
    return weights

  def _macro(self, rng) -> dict[str, float]:
    male = rng.beta(0.4, 0.4)
    ages = _ages(rng)
    ethnic = dict(zip(_ETHNIC, rng.dirichlet([0.4] * 3), strict=True))
    muscle = np.clip(0.5 + 0.2 * _bounded(rng), 0, 1)
    weight = np.clip(0.5 + 0.17 * _bounded(rng), 0, 1)
    sexes = {"male": male, "female": 1 - male}
    muscles = _triangle(muscle, "muscle")
    bodies = _triangle(weight, "weight")
    result: dict[str, float] = {}
    for sex, s in sexes.items():
      for age, a in ages.items():
        for people, e in ethnic.items():
          result[f"macrodetails/{people}-{sex}-{age}"] = s * a * e
        for m, mw in muscles.items():
          for b, bw in bodies.items():
            result[f"macrodetails/universal-{sex}-{age}-{m}-{b}"] = s * a * mw * bw
    return {name: w for name, w in result.items() if w > 0}


def _bounded(rng) -> float:
  """N(0, 1), softly limited to ± _BOUND."""
  return float(_BOUND * np.tanh(rng.standard_normal() / _BOUND))


def _ages(rng) -> dict[str, float]:
  """Weights of the age targets: one in eight people is young, the others are adults."""
  if rng.random() < 0.12:
    child = rng.uniform(0.1, 0.6)
    return {"child": child, "young": 1 - child}
  old = rng.beta(1, 1.6)
  return {"young": 1 - old, "old": old}


def _triangle(value: float, what: str) -> dict[str, float]:
  """Weights of the min, average and max targets at `value` in [0, 1]."""
  low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
  named = {f"min{what}": low, f"average{what}": 1 - low - high, f"max{what}": high}
  return {name: weight for name, weight in named.items() if weight > 0}


def _prior(source: Source) -> dict[str, list]:
  """Pairs of targets with standard deviations, both-sided and single."""
  pairs = []
  for name, std in _PAIRS.items():
    stem, high = name.split("|")
    low = stem
    pairs.append(((low, stem[: stem.rindex("-") + 1] + high), std))
  for folder, std, other in (
    ("nose", _NOSE, _NOSE_OTHER),
    ("mouth", _MOUTH, _MOUTH_OTHER),
  ):
    for low, high in _opposite_targets(source, folder):
      if not any(p.split("|")[0] == low.split("/")[1] for p in _OTHER):
        pairs.append(((low, high), _spread(low, std, other)))
  sides = []
  for folder, std in _SIDES.items():
    for low, high in _opposite_targets(source, folder):
      if low.startswith(f"{folder}/l-"):
        both = tuple(n.replace("/l-", "/{}-", 1) for n in (low, high))
        sides.append((both, _spread(low, std, _SIDES_OTHER)))
  asymmetric = [
    (name, name[:-1] + "r")
    for name in source.target_names("asym")
    if name.endswith("-l") and "asymm" not in name
  ]
  return {"pairs": pairs, "sides": sides, "asymmetric": asymmetric}


def _spread(name: str, std: float, other: dict[str, float]) -> float:
  return next((value for part, value in other.items() if part in name), std)


def _opposite_targets(source: Source, folder: str) -> list[tuple[str, str]]:
  """Pairs of opposite targets in a folder, sorted."""
  names = set(source.target_names(folder))
  result = []
  for name in sorted(names):
    for low, high in _OPPOSITES:
      other = name[: len(name) - len(low)] + high
      if name.endswith("-" + low) and other in names:
        result.append((name, other))
  return result
