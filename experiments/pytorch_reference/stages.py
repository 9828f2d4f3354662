"""The three stages of section 3.4.3, their optimizers, and the step of training."""

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from experiments.pytorch_reference import losses
from experiments.pytorch_reference.features import Features
from experiments.pytorch_reference.losses import Batch, Context
from experiments.pytorch_reference.model import Model

# Weights of section 3.4.4. Those of the diffuse terms are those of equations 3 and 5;
# the pose term is not the paper's, its weight is that of the config.
WEIGHTS = {
  "image_l1": 1.0,
  "position_l1": 3.0,
  "perceptual": 1.0,
  "deviation": 1.0,
  "variation": 0.3,
  "symmetry": 0.3,
  "adversarial_generator": 0.01,
  "diffuse_l1": 1.0,
  "diffuse_perceptual": 1.0,
}
_SHAPE = ("position_l1",)
_TEXTURE = tuple(
  name for name in WEIGHTS if name not in (*_SHAPE, "adversarial_generator")
)


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage: the networks that train, and the weights of its loss terms."""

  trains: tuple[str, ...]
  weights: Mapping[str, float]

  @property
  def renders(self) -> bool:
    """Whether some term looks at more than shape and pose."""
    return bool(set(self.weights) - {"position_l1", "pose_l1"})

  @property
  def adversarial(self) -> bool:
    """Whether the stage trains a discriminator."""
    return "adversarial_generator" in self.weights


def stage(name: str, *, pose_weight: float = 0.0) -> Stage:
  """Returns a stage of the paper.

  Args:
    name: "stage1", "stage2" or "stage3".
    pose_weight: Weight of the loss of known poses. With one, stage 1 trains the pose
      network, too.
  """
  trains, terms = {
    "stage1": (("position",), _SHAPE),
    "stage2": (("diffuse", "light", "pose"), _TEXTURE),
    "stage3": (("position", "diffuse", "light", "pose"), tuple(WEIGHTS)),
  }[name]
  weights = {term: WEIGHTS[term] for term in terms}
  if pose_weight:
    weights["pose_l1"] = pose_weight
    trains = tuple(dict.fromkeys((*trains, "pose")))
  return Stage(trains, weights)


@dataclasses.dataclass(frozen=True)
class Adam:
  """Options of the optimizers; defaults are the paper's, MeInGame's below.

  Attributes:
    learning_rate: The highest learning rate.
    beta1: Decay rate of the first moment.
    beta2: Decay rate of the second moment.
    schedule: "constant", or "cosine" down to zero at the last step.
    warmup_steps: Steps of a linear rise before the schedule.
    clip_norm: Largest norm of all gradients together; 0 = no clipping.
    slow: Factor on the learning rate of matrix predictors (0.1 in the absolute frame).
    discriminator_scale: Factor on the learning rate of the discriminator.
    discriminator_betas: Decay rates of the discriminator.
  """

  learning_rate: float = 1e-3
  beta1: float = 0.9
  beta2: float = 0.999
  schedule: str = "constant"
  warmup_steps: int = 0
  clip_norm: float = 1.0
  slow: float = 1.0
  discriminator_scale: float = 0.1
  discriminator_betas: tuple[float, float] = (0.5, 0.9)

  def rate(self, step: int, total_steps: int) -> float:
    """Returns the learning rate of a step, counted from 0."""
    if step + 1 < self.warmup_steps:
      return self.learning_rate * (step + 1) / self.warmup_steps
    if self.schedule == "constant":
      return self.learning_rate
    rise = max(self.warmup_steps - 1, 0)
    share = min((step - rise) / (total_steps - rise), 1)
    return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


class Trainer:
  """Trains a model through a stage; `step` is one update.

  Args:
    model: The four networks, which are changed.
    stage: The stage.
    features: The feature network of the perceptual losses.
    discriminator: The discriminator of an adversarial stage, which is changed.
    adam: Options of the optimizers.
    total_steps: Length of the stage, for the schedule.
    antialias: Whether gradients pass through silhouettes.
  """

  def __init__(
    self,
    model: Model,
    stage: Stage,
    *,
    features: Features | None = None,
    discriminator: nn.Module | None = None,
    adam: Adam = Adam(),
    total_steps: int = 1,
    antialias: bool = False,
  ):
    self.model, self.stage, self.features = model, stage, features
    self.discriminator = discriminator if stage.adversarial else None
    self.adam, self.total_steps, self.antialias = adam, total_steps, antialias
    self.count = 0
    model.requires_grad_(False)
    for name in stage.trains:
      getattr(model, name).requires_grad_(True)
    self.optimizer = _optimizer(model, adam.slow, (adam.beta1, adam.beta2))
    self.other_optimizer = None
    if self.discriminator is not None:
      self.other_optimizer = _optimizer(
        self.discriminator, 1.0, adam.discriminator_betas
      )
      self.discriminator.requires_grad_(False)

  def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Context]:
    """Returns the weighted sum of the stage's terms, the terms, and their context."""
    weights = self.stage.weights
    found = self.model(batch.image, antialias=self.antialias, render=self.stage.renders)
    context = Context(found, batch, self.model.head, self.features, self.discriminator)
    terms = {t.__name__: t(context) for t in losses.TERMS if t.__name__ in weights}
    return sum(weights[name] * term for name, term in terms.items()), terms, context

  def step(self, batch: Batch) -> dict[str, Tensor]:
    """Makes one update and returns its losses and the norms of its gradients."""
    rate = self.adam.rate(self.count, self.total_steps)
    self.count += 1
    self.optimizer.zero_grad()
    total, terms, context = self.losses(batch)
    total.backward()
    scalars = {"total": total, **terms}
    for name in self.stage.trains:
      scalars[f"gradient/{name}"] = _norm(getattr(self.model, name))
    self._update(self.optimizer, rate)
    if self.discriminator is not None:
      scalars |= self._step_of_discriminator(batch, context.overlay.detach(), rate)
    return {name: value.detach() for name, value in scalars.items()}

  def _step_of_discriminator(
    self, batch: Batch, fake: Tensor, rate: float
  ) -> dict[str, Tensor]:
    """Makes one update of the discriminator against the overlays of the same step."""
    self.discriminator.requires_grad_(True)
    self.other_optimizer.zero_grad()
    loss = losses.adversarial_discriminator(
      self.discriminator(batch.image), self.discriminator(fake)
    )
    loss.backward()
    norm = _norm(self.discriminator)
    self._update(self.other_optimizer, rate * self.adam.discriminator_scale)
    self.discriminator.requires_grad_(False)
    return {"adversarial_discriminator": loss, "gradient/discriminator": norm}

  def _update(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if self.adam.clip_norm:
      nn.utils.clip_grad_norm_(parameters, self.adam.clip_norm)
    for group in optimizer.param_groups:
      group["lr"] = rate * group["scale"]
    optimizer.step()


def _optimizer(
  module: nn.Module, slow: float, betas: tuple[float, float]
) -> torch.optim.Adam:
  """Returns Adam of the parameters that train, with matrix predictors in a group."""
  named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
  groups = [
    {"params": [p for n, p in named if (".predictor." in n) == slowly], "scale": scale}
    for slowly, scale in ((False, 1.0), (True, slow))
  ]
  return torch.optim.Adam([g for g in groups if g["params"]], betas=betas, eps=1e-8)


def _norm(module: nn.Module) -> Tensor:
  gradients = [p.grad.flatten() for p in module.parameters()]
  return torch.cat(gradients).norm()
