"""Random people and plausible facial expressions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax.heads._morphable import MorphableModel

# Soft limit of identity coefficients, standard deviations.
_BOUND = 2.5

# Facial actions: relative frequency, and the activations of their units at full
# strength. "*" stands for Left and Right, which differ slightly in each sample.
_ACTIONS: tuple[tuple[float, dict[str, float]], ...] = (
  (5.0, {"mouthSmile*": 0.9, "cheekSquint*": 0.5, "eyeSquint*": 0.3}),
  (3.0, {"mouthSmile*": 0.8, "mouthUpperUp*": 0.35, "jawOpen": 0.25}),
  (1.0, {"mouthSmile*": 0.4, "mouthDimple*": 0.6}),
  (2.0, {"jawOpen": 0.55}),
  (1.0, {"jawOpen": 0.35, "mouthLowerDown*": 0.5, "mouthUpperUp*": 0.3}),
  (1.0, {"jawOpen": 0.7, "browInnerUp": 0.7, "browOuterUp*": 0.7, "eyeWide*": 0.6}),
  (1.0, {"browInnerUp": 0.8, "browOuterUp*": 0.6}),
  (1.5, {"browDown*": 0.8, "eyeSquint*": 0.4}),
  (1.0, {"browDown*": 0.7, "noseSneer*": 0.6, "mouthUpperUp*": 0.3}),
  (1.0, {"browInnerUp": 0.7, "mouthFrown*": 0.6, "mouthShrugLower": 0.4}),
  (1.0, {"mouthFrown*": 0.7, "mouthShrugLower": 0.5}),
  (0.7, {"mouthPress*": 0.7}),
  (0.7, {"mouthPucker": 0.8}),
  (0.7, {"mouthFunnel": 0.7, "jawOpen": 0.15}),
  (0.5, {"mouthRollLower": 0.6, "mouthRollUpper": 0.5}),
  (0.5, {"mouthStretch*": 0.6, "jawOpen": 0.2}),
  (0.4, {"mouthLeft": 0.5}),
  (0.4, {"mouthRight": 0.5}),
  (0.4, {"jawLeft": 0.5, "jawOpen": 0.1}),
  (0.4, {"jawRight": 0.5, "jawOpen": 0.1}),
  (0.3, {"jawForward": 0.6}),
  (0.4, {"cheekPuff": 0.7}),
  (0.4, {"mouthShrugUpper": 0.5, "mouthShrugLower": 0.5}),
  (0.3, {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.4}),
  (0.3, {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.4}),
  (0.1, {"tongueOut": 0.8, "jawOpen": 0.35}),
)
_NEUTRAL_SHARE, _BLINK_SHARE = 0.2, 0.08
# Actions that need closed lips.
_LIPS_CLOSED = ("cheekPuff", "mouthPucker", "mouthPress*", "mouthRollLower")


def sample_identity(
  rng: np.random.Generator, model: MorphableModel, count: int, *, spread: float = 1.0
) -> Float[np.ndarray, "n k"]:
  """Returns float32 identity coefficients of random people.

  They follow N(0, spread²), softly limited to ± 2.5.

  Args:
    rng: random number generator.
    model: the model.
    count: number of people.
    spread: standard deviation; 1 = that of the model's people, 0 = the mean head.
  """
  if spread < 0:
    raise ValueError(f"spread must not be negative, got {spread}")
  normal = rng.standard_normal((count, len(model.identity_std)))
  return (_BOUND * np.tanh(spread * normal / _BOUND)).astype(np.float32)


def sample_expression(
  rng: np.random.Generator, model: MorphableModel, count: int, *, strength: float = 1.0
) -> Float[np.ndarray, "n e"]:
  """Returns float32 expression coefficients in [0, 1].

  Each expression combines up to three facial actions at random strengths with a common
  gaze of both eyes and sometimes a blink. Left and right move together, though not
  equally. Units that the model lacks are omitted.

  Args:
    rng: random number generator.
    model: the model; its units are found by their ARKit names.
    count: number of expressions.
    strength: factor of every coefficient, before the limit of 1.
  """
  if strength < 0:
    raise ValueError(f"strength must not be negative, got {strength}")
  index = {name: i for i, name in enumerate(model.expression_names)}
  result = np.zeros((count, len(index)), np.float32)
  for row in result:
    for name, value in _expression(rng).items():
      if name in index:
        row[index[name]] = np.clip(strength * value, 0, 1)
  return result


def random_vertices(
  rng: np.random.Generator, model: MorphableModel, count: int
) -> Float[np.ndarray, "n v 3"]:
  """Returns vertices, dm, of random people with random expressions."""
  identity = sample_identity(rng, model, count)
  expression = sample_expression(rng, model, count)
  return np.asarray(model.vertices(jnp.asarray(identity), jnp.asarray(expression)))


def _expression(rng: np.random.Generator) -> dict[str, float]:
  """The activations of one expression, by unit."""
  total: dict[str, float] = {}
  if rng.random() > _NEUTRAL_SHARE:
    chances = np.array([chance for chance, _ in _ACTIONS])
    number = rng.choice([1, 2, 3], p=[0.55, 0.33, 0.12])
    picks = rng.choice(len(_ACTIONS), number, replace=False, p=chances / chances.sum())
    for pick in picks:
      _add_action(rng, total, _ACTIONS[pick][1], rng.beta(2, 1.5))
  _add_gaze(rng, total)
  if rng.random() < _BLINK_SHARE:
    lid = rng.uniform(0.5, 1)
    total["eyeBlinkLeft"], total["eyeBlinkRight"] = lid, lid
  if any(total.get(name.replace("*", "Left"), 0) > 0.1 for name in _LIPS_CLOSED):
    for name in ("jawOpen", "mouthFunnel", "tongueOut"):
      total.pop(name, None)
  for side in ("Left", "Right"):
    # A shut eye is neither wide open nor squinting.
    shut = total.get(f"eyeBlink{side}", 0.0)
    for name in (f"eyeWide{side}", f"eyeSquint{side}"):
      total[name] = total.get(name, 0.0) * (1 - shut)
  total["jawOpen"] = min(total.get("jawOpen", 0.0), 0.8)
  return total


def _add_action(
  rng: np.random.Generator,
  total: dict[str, float],
  action: dict[str, float],
  strength: float,
) -> None:
  for name, weight in action.items():
    value = weight * strength * rng.uniform(0.7, 1.2)
    for side in ("Left", "Right") if name.endswith("*") else ("",):
      unit = name.rstrip("*") + side
      uneven = 1 + 0.12 * rng.standard_normal() if side else 1.0
      # Of actions that share a unit, the stronger one counts.
      total[unit] = max(total.get(unit, 0.0), value * uneven)


def _add_gaze(rng: np.random.Generator, total: dict[str, float]) -> None:
  across, up = 0.25 * rng.standard_normal(2)
  left, right = ("In", "Out") if across < 0 else ("Out", "In")
  total[f"eyeLook{left}Left"] = total[f"eyeLook{right}Right"] = abs(across)
  way = "Up" if up > 0 else "Down"
  total[f"eyeLook{way}Left"] = total[f"eyeLook{way}Right"] = abs(up)
