"""The paper's three stages (section 3.4.3), as data."""

import dataclasses

from affjax.losses import LossWeights

NETWORKS = ("position", "diffuse", "light", "pose")


@dataclasses.dataclass(frozen=True)
class Stage:
  """What one stage of training does; hashable, hence static under `jit`.

  Attributes:
    name: "stage1", "stage2" or "stage3".
    trains: the networks that are updated; the others are used as they are.
    weights: weight of each loss term; a term of weight zero is not computed.
    epochs: how often each sample is seen.
    previous: the stage whose final weights this one starts from; `None` = fresh ones.
  """

  name: str
  trains: tuple[str, ...]
  weights: LossWeights
  epochs: float
  previous: str | None = None

  def __post_init__(self):
    unknown = sorted(set(self.trains) - set(NETWORKS))
    if unknown or not self.trains:
      raise ValueError(
        f"trains of {self.name} must name some of {', '.join(NETWORKS)}, got "
        f"{self.trains}"
      )
    if not self.weights.active:
      raise ValueError(f"every loss weight of {self.name} is zero: nothing to train")
    if self.epochs <= 0:
      raise ValueError(f"epochs of {self.name} must be positive, got {self.epochs}")

  @property
  def adversarial(self) -> bool:
    """Whether discriminators train along."""
    return self.weights.adversarial_generator > 0

  @property
  def renders(self) -> bool:
    """Whether a loss looks at the rendered head."""
    w = self.weights
    return w.image_l1 > 0 or w.perceptual > 0 or self.adversarial

  @property
  def features(self) -> bool:
    """Whether a loss needs the feature network."""
    return self.weights.perceptual > 0 or self.weights.diffuse_perceptual > 0


# Stage 1 is the paper's L_rec without its image term: while pose, light and diffuse are
# untrained, a rendered picture says nothing about the shape. With a weight for known
# poses it trains the pose network along, so that stage 2 starts with heads in place.
_TERMS = {
  "stage1": ("position_l1", "pose_l1"),
  "stage2": (
    "image_l1",
    "perceptual",
    "symmetry",
    "deviation",
    "variation",
    "diffuse_l1",
    "diffuse_perceptual",
    "pose_l1",
  ),
}
_TRAINS = {"stage1": ("position", "pose"), "stage2": ("diffuse", "light", "pose")}
_EPOCHS = {"stage1": 20, "stage2": 30, "stage3": 40}
_PREVIOUS = {"stage1": None, "stage2": "stage1", "stage3": "stage2"}

STAGE_NAMES = tuple(_EPOCHS)


def paper_stage(
  name: str, *, weights: LossWeights | None = None, epochs: float | None = None
) -> Stage:
  """A stage of the paper.

  Args:
    name: one of `STAGE_NAMES`.
    weights: the weights of stage 3; earlier stages use their part of them. Default:
      the paper's. A weight of `pose_l1` has stage 1 train the pose network, too.
    epochs: default: the paper's 20, 30 and 40.
  """
  if name not in STAGE_NAMES:
    raise ValueError(f"stage must be one of {', '.join(STAGE_NAMES)}, got {name!r}")
  weights = LossWeights() if weights is None else weights
  trains = _TRAINS.get(name, NETWORKS)
  if name == "stage1" and weights.pose_l1 == 0:
    trains = ("position",)
  return Stage(
    name=name,
    trains=trains,
    weights=weights.only(*_TERMS[name]) if name in _TERMS else weights,
    epochs=_EPOCHS[name] if epochs is None else epochs,
    previous=_PREVIOUS[name],
  )
