"""From a config to the parts: the only reader of a ConfigDict.

`task` makes one stage ready to train; `load_run` makes a trained workdir ready to use.
Below this file functions take plain arguments and have their own defaults.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ml_collections
import numpy as np

from affjax.data import (
  Ranges,
  Wanted,
  mixed,
  pair,
  steps_per_epoch,
  to_batch,
  training_batches,
)
from affjax.heads import MorphableModel, open_head
from affjax.losses import LossWeights
from affjax.models import (
  AffUNetConfig,
  FeatureNet,
  LightNetConfig,
  MultiScaleDiscriminator,
  Networks,
  PoseNetConfig,
  Reconstructor,
  load_features,
)
from affjax.train import objective, optimizer, sharding, start, state, workdir
from affjax.train import stage as stage_lib
from affjax.train.checkpoint import Checkpoints
from affjax.train.loop import Plan, Task
from affjax.train.stage import Stage
from affjax.train.step import Adversary, Learner
from affjax.train.workdir import WorkdirError
from affjax.types import Camera, Template

# A ConfigDict. Its own annotations make every value a union of all types.
Config = Any


class UserError(ValueError):
  """A config, workdir or data set cannot be used; one line, for the user."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """A trained workdir.

  Attributes:
    config: of its last stage.
    reconstructor: `run.reconstructor(run.params, images) -> Prediction`.
    params: weights of the four networks.
    step: number of updates of the last stage so far.
    stage: name of the last stage that has a checkpoint.
  """

  config: Config
  reconstructor: Reconstructor
  params: state.Params
  step: int
  stage: str


def task(config: Config, root: str | pathlib.Path, *, command: str = "") -> Task:
  """One stage of training, ready to run.

  Args:
    config: of `configs/`.
    root: the workdir, made if needed.
    command: the command line, for messages that name the one to run first.

  Raises:
    UserError: a value is wrong, or the workdir does not fit.
  """
  root = pathlib.Path(root)
  try:
    return _task(config, root, command)
  except (AttributeError, KeyError) as error:
    raise UserError(f"the config lacks a key: {error}") from error
  except (TypeError, ValueError) as error:
    raise UserError(str(error)) from error


def load_run(root: str | pathlib.Path) -> Run:
  """The weights of a workdir's last stage, with the networks that they belong to.

  Args:
    root: a workdir, or the folder of one of its stages.

  Raises:
    ValueError: there is no checkpoint, or it is damaged or of another architecture.
  """
  folder = workdir.latest_stage(pathlib.Path(root))
  if folder is None:
    raise WorkdirError(
      f"{root} holds no weights: train it first, python -m affjax.main "
      f"--config=configs/stage1.py --workdir={root}"
    )
  config = ml_collections.ConfigDict(workdir.read_json(folder / workdir.CONFIG))
  try:
    networks = reconstructor(config)
  except (AttributeError, KeyError, TypeError) as error:
    where = folder / workdir.CONFIG
    raise WorkdirError(f"{where} is not a whole config: {error}") from error
  shapes = {name: net.shapes for name, net in networks.definitions.items()}
  with Checkpoints(folder) as checkpoints:
    params = checkpoints.restore_params(shapes)
    step = checkpoints.latest() or 0
  return Run(config, networks, params, step, folder.name)


def reconstructor(config: Config) -> Reconstructor:
  """The four networks, their head and their camera."""
  model = config.model
  shared = {"dtype": config.dtype, "backend": config.affine_backend}
  with _section("model"):
    head = _head(model.template)
    camera = Camera(**model.camera)
  with _section("model.position"):
    position = AffUNetConfig(**model.position, **shared)
  with _section("model.diffuse"):
    diffuse = AffUNetConfig(**model.diffuse, **shared)
  with _section("model.light"):
    light = LightNetConfig(**model.light, **shared)
  with _section("model.pose"):
    pose = PoseNetConfig(**model.pose, dtype=config.dtype)
  with _section("model"):
    networks = Networks(model.size, position, diffuse, light, pose)
    found = Reconstructor(
      template=head.template,
      camera=camera,
      networks=networks,
      vertex_std=head.vertex_std(),
    )
    # Built on first use; some values are refused only then.
    found.definitions  # noqa: B018
    return found


def stage(config: Config) -> Stage:
  """The stage with the config's loss weights."""
  with _section("loss"):
    weights = LossWeights(**config.loss)
  return stage_lib.paper_stage(config.stage, weights=weights, epochs=config.epochs)


def sources(config: Config, root: pathlib.Path) -> tuple[Any, dict[str, np.ndarray]]:
  """The training source, and a stacked record of held-out samples."""
  data = config.data
  with _section("data"):
    cache = root / "cache" if data.cache == "workdir" else pathlib.Path(data.cache)
    wanted = Wanted(
      head=_head(config.model.template),
      camera=Camera(**config.model.camera),
      size=config.model.size,
      held_out=data.held_out,
      count=data.count,
      seed=data.seed,
      occluders=data.occluders,
      backgrounds=data.backgrounds,
      cache=cache if data.cache else None,
    )
    if data.source == "mixed":
      train, held = mixed(
        {name: (p.source, p.path, p.weight) for name, p in data.mixture.items()},
        wanted,
      )
    else:
      train, held = pair(data.source, data.path, wanted)
    records = [held[i] for i in range(min(len(held), data.held_out))]
  return train, {key: np.stack([r[key] for r in records]) for key in records[0]}


def _task(config: Config, root: pathlib.Path, command: str) -> Task:
  this = stage(config)
  with _section("devices"):
    mesh = sharding.make_mesh(config.devices)
    sharding.require_divisible(config.data.batch_size, mesh)
  networks = reconstructor(config)
  feature_net = _feature_net(config, this)
  workdir.claim(root, this.name, _plain(config))
  source, held_out = sources(config, root)
  plan = _plan(config, this, len(source))
  learner = _learner(config, this, networks, plan.total_steps)
  data = _batches(config, source, networks.template)
  critic = _discriminators(config).init(config.seed + 1) if this.adversarial else None
  begun = start.begin(
    this,
    root,
    create=lambda params: state.create(
      this,
      params,
      learner.optimizer,
      discriminator=critic,
      discriminator_optimizer=learner.adversary and learner.adversary.optimizer,
    ),
    fresh_params=networks.init(config.seed),
    data=data,
    init_from=config.init_from,
    command=command,
  )
  return Task(
    learner=learner,
    plan=plan,
    start=begun,
    data=data,
    held_out=held_out,
    feature_net=feature_net,
    mesh=mesh,
    root=root,
    meta={
      "config": _plain(config),
      "stage": this.name,
      "template": networks.template.name,
      "features": feature_net.name if feature_net else None,
      "data": config.data.source,
    },
  )


def _learner(
  config: Config, this: Stage, networks: Reconstructor, total_steps: int
) -> Learner:
  """The networks with their losses and optimizers."""
  options = config.optimizer
  with _section("optimizer"):
    make = functools.partial(
      optimizer.make,
      schedule=options.schedule,
      warmup_steps=options.warmup_steps,
      total_steps=total_steps,
      clip_norm=options.clip_norm,
    )
    absolute = [
      name
      for name in ("position", "diffuse", "light")
      if config.model[name].frame == "absolute"
    ]
    own = make(
      learning_rate=options.learning_rate,
      betas=(options.beta1, options.beta2),
      slow_networks=[name for name in absolute if name in this.trains],
    )
    critic = options.discriminator
    other = make(
      learning_rate=options.learning_rate * critic.scale,
      betas=(critic.beta1, critic.beta2),
    )
  return Learner(
    stage=this,
    reconstructor=networks,
    prepare=functools.partial(to_batch, table=networks.table),
    where=objective.regions(networks.template, config.model.size),
    optimizer=own,
    adversary=Adversary(_discriminators(config), other) if this.adversarial else None,
    antialias=config.antialias,
    mirrored=config.mirror_supervision,
  )


def _discriminators(config: Config) -> MultiScaleDiscriminator:
  with _section("model.discriminator"):
    return MultiScaleDiscriminator(**config.model.discriminator, dtype=config.dtype)


def _plan(config: Config, this: Stage, samples: int) -> Plan:
  """How many steps; `steps` beats epochs."""
  batch_size = config.data.batch_size
  with _section("data"):
    per_epoch = steps_per_epoch(samples, batch_size)
  steps = config.steps or max(1, round(this.epochs * per_epoch))
  with _section("log"):
    return Plan(
      total_steps=steps,
      batch_size=batch_size,
      log_every=config.log.every,
      checkpoint_every=config.checkpoint.every,
      picture_every=config.log.pictures_every,
      tensorboard=config.log.tensorboard,
    )


def _batches(
  config: Config, source: Any, template: Template
) -> Iterator[dict[str, np.ndarray]]:
  """Endless shuffled batches; the number of steps is what ends a stage."""
  data = config.data
  with _section("data.augment"):
    quality = tuple(data.augment.jpeg_quality)
    augment = Ranges(**{**data.augment, "jpeg_quality": quality})
  with _section("data"):
    return training_batches(
      source,
      batch_size=data.batch_size,
      seed=config.seed,
      epochs=None,
      mirror=template if data.mirror else None,
      augment=augment,
      threads=data.threads,
    )


def _feature_net(config: Config, this: Stage) -> FeatureNet | None:
  """The feature network, where a loss needs it."""
  if not this.features:
    return None
  options = config.features
  with _section("features"):
    return load_features(
      options.weights, layers=tuple(options.layers) or None, dtype=config.dtype
    )


def _head(name: str) -> MorphableModel:
  """Returns the head model that `config.model.template` names."""
  return open_head(name)


def _plain(config: Config) -> dict[str, Any]:
  """The config as JSON holds it."""
  return json.loads(config.to_json())


@contextmanager
def _section(name: str) -> Iterator[None]:
  """Says which section of the config a value belongs to that something refuses."""
  try:
    yield
  except (TypeError, ValueError) as error:
    raise UserError(f"config.{name}: {error}") from error
