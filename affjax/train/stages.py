"""The paper's three stages of training (section 3.4.3) and that of Unsup3D, as data."""

import dataclasses

from affjax.losses import LossWeights, Need
from affjax.models import NETWORKS, unsup3d

UNSUP3D = "unsup3d"
"""Name of the stage that trains Unsup3D."""


@dataclasses.dataclass(frozen=True)
class Stage:
  """One stage of training; hashable, hence static under `jit`.

  Attributes:
    name: "stage1", "stage2", "stage3" or "unsup3d".
    trains: Networks that are updated; the others are used as they are.
    weights: Weight of each loss term; a term of weight zero is not computed.
    epochs: Number of times that each sample is seen.
    previous: Stage whose final weights this one starts from; `None` = fresh ones.
  """

  name: str
  trains: tuple[str, ...]
  weights: LossWeights
  epochs: float
  previous: str | None = None

  def __post_init__(self):
    known = unsup3d.NETWORKS if self.name == UNSUP3D else NETWORKS
    if set(self.trains) - set(known) or not self.trains:
      raise ValueError(
        f"trains of {self.name} must name some of {', '.join(known)}, got {self.trains}"
      )
    if not self.weights.active:
      raise ValueError(f"every loss weight of {self.name} is zero: nothing to train")
    if self.epochs <= 0:
      raise ValueError(f"epochs of {self.name} must be positive, got {self.epochs}")

  def requires(self, need: Need) -> bool:
    """Returns whether some loss term of the stage needs this."""
    return need in self.weights.needs


# With a weight for known poses, stage 1 trains the pose network along, so that stage 2
# starts with heads in place.
_STAGES = {
  "stage1": Stage("stage1", ("position", "pose"), LossWeights(), 20),
  "stage2": Stage("stage2", ("diffuse", "light", "pose"), LossWeights(), 30, "stage1"),
  "stage3": Stage("stage3", NETWORKS, LossWeights(), 40, "stage2"),
}
STAGE_NAMES = tuple(_STAGES)
"""The paper's stages, each of which starts from the one before."""

_STAGES[UNSUP3D] = Stage(UNSUP3D, unsup3d.NETWORKS, LossWeights(), 30)
EVERY_STAGE = tuple(_STAGES)
"""The paper's stages and that of Unsup3D, which stands alone."""


def paper_stage(
  name: str, *, weights: LossWeights | None = None, epochs: float = 0
) -> Stage:
  """Returns a stage of the paper, or that of Unsup3D.

  Args:
    name: One of `EVERY_STAGE`.
    weights: Weights of all terms, of which the stage uses its own; default: those of
      `losses.TERMS`. A weight of `pose_l1` has stage 1 train the pose network, too.
    epochs: Number of times that each sample is seen; 0 = the paper's 20, 30 and 40, and
      Unsup3D's 30.

  Raises:
    ValueError: The name is unknown, or nothing is left to train.
  """
  if name not in EVERY_STAGE:
    raise ValueError(f"stage must be one of {', '.join(EVERY_STAGE)}, got {name!r}")
  stage = _STAGES[name]
  weights = (LossWeights() if weights is None else weights).of_stage(name)
  trains = stage.trains
  if name == "stage1" and Need.KNOWN_POSE not in weights.needs:
    trains = ("position",)
  return dataclasses.replace(
    stage, trains=trains, weights=weights, epochs=epochs or stage.epochs
  )
