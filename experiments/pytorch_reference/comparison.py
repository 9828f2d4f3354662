"""Comparison of affjax with the method in PyTorch: values, gradients, updates.

Both sides start from the same weights and see the same batches.
"""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ml_collections import ConfigDict

from affjax import build, losses
from affjax.losses import Need
from affjax.models import FeatureNet, MultiScaleDiscriminator, load_features
from affjax.train import states
from affjax.train.steps import Learner
from experiments.pytorch_reference import affine_conv, model, stages, weights
from experiments.pytorch_reference.batch import to_batch
from experiments.pytorch_reference.features import Features
from experiments.pytorch_reference.stages import Trainer

# Largest relative errors.
TARGETS = {
  "outputs": 1e-4,
  "losses": 1e-4,
  "gradients": 1e-3,
  "updates": 1e-2,
  "run": 1e-2,
}
# Standard deviation of what is added to fresh weights, so that affine layers warp.
STIR = 0.02
# Number of different batches that the updates go through.
_BATCHES = 4

Record = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
  """One stage with everything that both sides start from.

  Attributes:
    learner: affjax's parts of an update.
    adam: PyTorch's options of the optimizers.
    params: Weights of the four networks.
    discriminator: Weights of the discriminator.
    features: Network of the perceptual losses.
    pose_weight: Weight of the loss of known poses.
    total_steps: Length of the stage.
  """

  learner: Learner
  adam: stages.Adam
  params: dict[str, Any]
  discriminator: dict[str, Any]
  features: FeatureNet
  pose_weight: float
  total_steps: int

  @property
  def stage(self) -> stages.Stage:
    """PyTorch's stage of the same name."""
    return stages.stage(self.learner.stage.name, pose_weight=self.pose_weight)

  def trainer(
    self, form: Callable = affine_conv.stacked, dtype: torch.dtype = torch.float32
  ) -> Trainer:
    """Returns PyTorch's trainer, fresh, with these weights."""
    twin = model.twin(
      self.learner.reconstructor, self.params, self.learner.regions, form=form
    )
    other = model.twin_discriminator(self.discriminator)
    place = functools.partial(
      torch.nn.Module.to, dtype=dtype, memory_format=torch.channels_last
    )
    return Trainer(
      place(twin),
      self.stage,
      features=place(Features(self.features)),
      discriminator=place(other),
      adam=self.adam,
      total_steps=self.total_steps,
      antialias=self.learner.antialias,
    )

  def state(self) -> states.TrainState:
    """Returns affjax's training state, fresh, with these weights."""
    learner, other = self.learner, self.learner.discriminator
    return states.create(
      learner.stage,
      jax.tree.map(jnp.asarray, self.params),
      learner.optimizer,
      discriminator=other and jax.tree.map(jnp.asarray, self.discriminator),
      discriminator_optimizer=other and other.optimizer,
    )


def configured(stage: str, *, size: int, batch: int, width: int) -> ConfigDict:
  """Returns the config of a stage of the paper at another size."""
  config = build.get_config(stage)
  config.model.architecture, config.model.size = "paper", size
  config.data.batch_size, config.data.held_out = batch, _BATCHES * batch
  for name in ("position", "diffuse"):
    config.model[name].width = width
  config.model.light.width = config.model.pose.width = max(1, width // 2)
  config.model.discriminator.width = 2 * width
  return config


def case(config: ConfigDict, total_steps: int, *, antialias: bool = False) -> Case:
  """Returns a case with stirred weights."""
  learner = build.learner(config, total_steps)
  learner = dataclasses.replace(learner, antialias=antialias)
  options, rng = config.optimizer, np.random.default_rng(config.seed)

  def stirred(value: jax.Array) -> np.ndarray:
    return np.asarray(value) + STIR * rng.standard_normal(value.shape, np.float32)

  return Case(
    learner=learner,
    adam=stages.Adam(
      options.learning_rate,
      options.beta1,
      options.beta2,
      options.schedule,
      options.warmup_steps,
      options.clip_norm,
      discriminator_scale=options.discriminator.scale,
      discriminator_betas=(options.discriminator.beta1, options.discriminator.beta2),
    ),
    params=jax.tree.map(stirred, learner.reconstructor.init(config.seed)),
    discriminator=jax.tree.map(stirred, discriminator_of(config).init(config.seed + 1)),
    features=load_features("embedded", layers=config.features.layers or None),
    pose_weight=config.loss.pose_l1,
    total_steps=total_steps,
  )


def discriminator_of(config: ConfigDict) -> MultiScaleDiscriminator:
  """Returns the config's discriminator, whether its stage trains one or not."""
  return build.read_config(config).model.discriminator


def batches(config: ConfigDict) -> list[Record]:
  """Returns batches of synthetic photos with their ground truth."""
  with tempfile.TemporaryDirectory() as folder:
    _, held_out = build.sources(config, pathlib.Path(folder))
  size = config.data.batch_size
  return [
    {name: values[k : k + size] for name, values in held_out.items()}
    for k in range(0, len(held_out["image"]), size)
  ]


# Values and gradients.


def ours(case: Case, record: Record):
  """Returns affjax's prediction, loss terms and gradients for a batch."""
  learner, stage = case.learner, case.learner.stage
  other = learner.discriminator
  names = [name for name in case.params if name not in stage.trains]

  @jax.jit
  def run(params, discriminator, features, record):
    batch = learner.prepare(record)

    def loss(trained):
      found = learner.reconstructor(
        {**{name: params[name] for name in names}, **trained},
        batch.image,
        antialias=learner.antialias,
        render=stage.requires(Need.RENDER),
      )
      context = losses.Context(
        found,
        batch,
        learner.regions,
        features,
        other and (lambda images: other.network(discriminator, images)),
      )
      terms = losses.compute_terms(context, stage.weights)
      total, values = losses.weighted(terms, stage.weights)
      return total, (found, values)

    trained = {name: params[name] for name in stage.trains}
    (_, (found, values)), slopes = jax.value_and_grad(loss, has_aux=True)(trained)
    return found, values, slopes

  return run(case.params, case.discriminator, case.features, record)


def compared(case: Case, record: Record) -> dict[str, dict[str, float]]:
  """Returns the relative errors of affjax against PyTorch in double precision.

  Returns:
    The errors of outputs, losses and gradients by name. That of an array is the largest
    difference by the largest value, that of a gradient the norm of the difference by
    the norm, and at least by a thousandth of the network's.
  """
  found, values, slopes = ours(case, record)
  trainer = case.trainer(dtype=torch.float64)
  wanted = theirs(trainer, record)
  if set(values) != set(wanted["losses"]):
    raise ValueError(
      f"{case.learner.stage.name} must have the terms {sorted(wanted['losses'])}, "
      f"affjax has {sorted(values)}"
    )
  return {
    "outputs": {k: largest(getattr(found, k), v) for k, v in wanted["outputs"].items()},
    "losses": {k: relative(values[k], v) for k, v in wanted["losses"].items()},
    "gradients": gradient_errors(weights.to_state(slopes), trainer),
  }


def theirs(trainer: Trainer, record: Record) -> dict[str, dict[str, np.ndarray]]:
  """Returns PyTorch's predictions and loss terms; gradients stay in the model."""
  total, terms, context = trainer.losses(to_batch(record, trainer.model.head))
  total.backward()
  outputs = {k: v for k, v in vars(context.prediction).items() if v is not None}
  plain = lambda named: {k: v.detach().numpy() for k, v in named.items()}
  return {"outputs": plain(outputs), "losses": plain(terms)}


def rounded(case: Case, record: Record) -> dict[str, float]:
  """Returns the errors of PyTorch's own gradients in single precision.

  They tell how much of affjax's errors is rounding.
  """
  single, double = case.trainer(), case.trainer(dtype=torch.float64)
  for trainer in (single, double):
    theirs(trainer, record)
  slopes = {name: p.grad for name, p in single.model.named_parameters()}
  return gradient_errors(slopes, double)


def gradient_errors(slopes: Mapping[str, Any], trainer: Trainer) -> dict[str, float]:
  """Returns the error of the gradient by each parameter, by PyTorch's names."""
  errors = {}
  for network in trainer.stage.trains:
    wanted = dict(getattr(trainer.model, network).named_parameters(prefix=network))
    least = 1e-3 * torch.cat([p.grad.flatten() for p in wanted.values()]).norm()
    for name, parameter in wanted.items():
      grad = parameter.grad
      error = (slopes[name] - grad).norm() / torch.maximum(grad.norm(), least)
      errors[name] = float(error)
  return errors


def largest(found: Any, wanted: np.ndarray) -> float:
  """Returns the largest difference relative to the largest value."""
  return float(np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max())


def relative(found: Any, wanted: Any) -> float:
  """Returns the difference relative to the second value."""
  return abs(float(found) - float(wanted)) / abs(float(wanted))


def transplanted(case: Case) -> bool:
  """Returns whether weights come back from PyTorch as they were, to the bit."""
  ours = {**case.params, "discriminator": case.discriminator}
  twin = case.trainer().model
  theirs = torch.nn.ModuleDict({name: getattr(twin, name) for name in case.params})
  theirs["discriminator"] = model.twin_discriminator(case.discriminator)
  with tempfile.TemporaryDirectory() as folder:
    there, back = pathlib.Path(folder, "there.st"), pathlib.Path(folder, "back.st")
    weights.save(ours, there)
    theirs.load_state_dict(weights.load_state(there))
    weights.save_state(theirs.state_dict(), back)
    found = weights.load(back)
  same = jax.tree.map(np.array_equal, found, ours)
  return all(jax.tree.leaves(same))
