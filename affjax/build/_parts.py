"""The parts of a stage of training, made from options."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from affjax.build import _configs
from affjax.build._configs import UserError
from affjax.build._options import Options
from affjax.data import (
  Wanted,
  degradation,
  mixed,
  pair,
  steps_per_epoch,
  to_batch,
  training_batches,
  with_guide_noise,
)
from affjax.heads import open_head
from affjax.losses import Need, make_regions
from affjax.models import (
  FeatureNet,
  MultiScaleDiscriminator,
  Networks,
  Reconstructor,
  load_features,
)
from affjax.train import (
  optimizers,
  provenance,
  sharding,
  stages,
  start,
  states,
  workdir,
)
from affjax.train.loop import Plan, Task
from affjax.train.shapes import shape_evaluator
from affjax.train.stages import Stage
from affjax.train.steps import DiscriminatorLearner, Learner
from affjax.types import Batch

Config = ConfigDict | Mapping[str, Any] | Options


def task(config: Config, root: str | pathlib.Path, *, command: str = "") -> Task:
  """Returns one stage of training, ready to run.

  Args:
    config: A config, as `get_config` returns it.
    root: The workdir, made if needed.
    command: The command line, for messages that name the one to run first.

  Raises:
    UserError: The config is wrong, or the workdir does not fit it. `AFFJAX_DEBUG=1`
      has the command line show the traceback.
  """
  try:
    return _task(_configs.read_config(config), pathlib.Path(root), command)
  except ValueError as error:
    raise UserError(str(error)) from error


def reconstructor(config: Config) -> Reconstructor:
  """Returns the four networks with their head and their camera."""
  options = _configs.read_config(config)
  model = options.model
  dtype = {"dtype": options.dtype}
  shared = {**dtype, "backend": options.affine_backend}
  with _section("model.position"):
    position = dataclasses.replace(model.position, **shared)
  with _section("model.diffuse"):
    diffuse = dataclasses.replace(model.diffuse, **shared)
  with _section("model.light"):
    light = dataclasses.replace(model.light, **shared)
  with _section("model.pose"):
    pose = dataclasses.replace(model.pose, **dtype)
  with _section("model"):
    head = open_head(model.template)
    found = Reconstructor(
      template=head.template,
      camera=model.camera,
      networks=Networks(model.size, model.architecture, position, diffuse, light, pose),
      vertex_std=head.vertex_std(),
    )
    # Built on first use; some values are refused only then.
    found.definitions  # noqa: B018
    return found


def stage(config: Config) -> Stage:
  """Returns the stage with the config's loss weights."""
  options = _configs.read_config(config)
  return stages.paper_stage(options.stage, weights=options.loss, epochs=options.epochs)


def learner(config: Config, total_steps: int) -> Learner:
  """Returns the parts of a training step of the config's stage.

  Args:
    config: A config.
    total_steps: Length of the stage, in updates, which the schedule depends on.
  """
  options = _configs.read_config(config)
  return _learner(options, stage(options), reconstructor(options), total_steps)


def sources(config: Config, root: pathlib.Path) -> tuple[Any, dict[str, np.ndarray]]:
  """Returns the training source, and the held-out samples as one record."""
  options = _configs.read_config(config)
  data = options.data
  with _section("data"):
    cache = root / "cache" if data.cache == "workdir" else pathlib.Path(data.cache)
    wanted = Wanted(
      head=open_head(options.model.template),
      camera=options.model.camera,
      size=options.model.size,
      held_out=data.held_out,
      count=data.count,
      seed=data.seed,
      occluders=data.occluders,
      backgrounds=data.backgrounds,
      cache=cache if data.cache else None,
    )
    if data.source == "mixed":
      parts = {name: (p.source, p.path, p.weight) for name, p in data.mixture.items()}
      train, held_out = mixed(parts, wanted)
    else:
      train, held_out = pair(data.source, data.path, wanted)
    records = [
      with_guide_noise(held_out[i], np.random.default_rng(i))
      for i in range(min(len(held_out), data.held_out))
    ]
  return train, {key: np.stack([r[key] for r in records]) for key in records[0]}


def _task(options: Options, root: pathlib.Path, command: str) -> Task:
  options = _with_absolute_template(options)
  this = stage(options)
  with _section("devices"):
    mesh = sharding.make_mesh(options.devices)
    sharding.require_divisible(options.data.batch_size, mesh)
  networks = reconstructor(options)
  feature_net = _feature_net(options, this)
  stored = _configs.to_json(options)
  lock = workdir.claim(root, this.name, stored, resume=options.resume)
  source, held_out = sources(options, root)
  plan = _plan(options, this, len(source))
  learner = _learner(options, this, networks, plan.total_steps)
  data = _batches(options, source, networks)
  create = functools.partial(
    states.create,
    this,
    optimizer=learner.optimizer,
    discriminator=(
      _discriminator(options).init(options.seed + 1) if learner.discriminator else None
    ),
    discriminator_optimizer=learner.discriminator and learner.discriminator.optimizer,
  )
  return Task(
    learner=learner,
    plan=plan,
    start=start.begin(
      this,
      root,
      create=create,
      fresh_params=networks.init(options.seed),
      data=data,
      init_from=options.init_from,
      command=command,
    ),
    data=data,
    held_out=held_out,
    feature_net=feature_net,
    mesh=mesh,
    root=root,
    meta={
      "config": stored,
      "stage": this.name,
      "template": networks.template.name,
      "features": feature_net.name if feature_net else None,
      "data": options.data.source,
      "seed": options.seed,
      "software": provenance.describe(),
    },
    shapes=(
      shape_evaluator(networks, held_out, learner.prepare)
      if options.log.shapes_every
      else None
    ),
    lock=lock,
  )


def _with_absolute_template(options: Options) -> Options:
  """Makes the path of a template absolute: a workdir is used from any folder."""
  path = pathlib.Path(options.model.template)
  if options.model.template == "embedded" or not path.exists():
    return options
  model = dataclasses.replace(options.model, template=str(path.absolute()))
  return dataclasses.replace(options, model=model)


def _learner(
  options: Options, this: Stage, networks: Reconstructor, total_steps: int
) -> Learner:
  """Returns the networks with their losses and optimizers."""
  absolute = networks.networks.row.layers == "absolute"
  affine = ("position", "diffuse", "light") if absolute else ()
  make = functools.partial(optimizers.make, total_steps=total_steps)
  with _section("optimizer"):
    optimizer = make(
      options.optimizer,
      slow_networks=[name for name in affine if name in this.trains],
    )
    other = make(options.optimizer.for_discriminator())
  discriminator = None
  if this.requires(Need.DISCRIMINATOR):
    discriminator = DiscriminatorLearner(_discriminator(options), other)
  return Learner(
    stage=this,
    reconstructor=networks,
    prepare=_prepare(options, networks),
    regions=make_regions(networks.template, options.model.size),
    optimizer=optimizer,
    discriminator=discriminator,
    antialias=options.antialias,
    mirrored=options.mirror_supervision,
  )


def _prepare(
  options: Options, networks: Reconstructor
) -> Callable[[dict[str, Any]], Batch]:
  """Returns the function from records to batches, with guides if networks take them."""
  guided = networks.networks.guided
  guides = degradation(open_head(options.model.template)) if guided else None
  return functools.partial(to_batch, table=networks.table, guides=guides)


def _discriminator(options: Options) -> MultiScaleDiscriminator:
  with _section("model.discriminator"):
    return dataclasses.replace(options.model.discriminator, dtype=options.dtype)


def _plan(options: Options, this: Stage, samples: int) -> Plan:
  """Returns the length of the stage; `steps` takes precedence over epochs."""
  batch_size = options.data.batch_size
  with _section("data"):
    per_epoch = steps_per_epoch(samples, batch_size)
  steps = options.steps or max(1, round(this.epochs * per_epoch))
  return Plan(steps, batch_size, options.log, options.checkpoint)


def _batches(
  options: Options, source: Any, networks: Reconstructor
) -> Iterator[dict[str, np.ndarray]]:
  """Returns endless shuffled batches; the number of steps ends a stage."""
  data = options.data
  with _section("data"):
    return training_batches(
      source,
      batch_size=data.batch_size,
      seed=options.seed,
      epochs=None,
      mirror=networks.template if data.mirror else None,
      augment=data.augment,
      guides=networks.networks.guided,
      threads=data.threads,
    )


def _feature_net(options: Options, this: Stage) -> FeatureNet | None:
  """Returns the feature network if a loss needs it."""
  if not this.requires(Need.FEATURES):
    return None
  features = options.features
  with _section("features"):
    return load_features(
      features.weights, layers=features.layers or None, dtype=options.dtype
    )


@contextmanager
def _section(name: str) -> Iterator[None]:
  """Names the section of the config whose value is refused inside the block."""
  try:
    yield
  except ValueError as error:
    raise UserError(f"config.{name}: {error}") from error
