"""The parts of a stage of training, made from options."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from jax.sharding import Mesh

from affjax.build import _configs, _networks
from affjax.build._configs import UserError
from affjax.build._networks import Config
from affjax.build._options import Options
from affjax.data import (
  FIELDS,
  SOURCES,
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
from affjax.models import FeatureNet, Reconstructor
from affjax.train import (
  optimizers,
  provenance,
  sharding,
  stages,
  start,
  states,
  steps,
  workdir,
)
from affjax.train.discriminators import DiscriminatorLearner
from affjax.train.loop import Plan, Task
from affjax.train.shapes import shape_evaluator
from affjax.train.stages import UNSUP3D, Stage
from affjax.train.states import Params, TrainState
from affjax.train.steps import Learner
from affjax.types import Batch

Made = TypeVar("Made")


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
  options, problems = _configs.read_and_check(config)
  try:
    parts = checked_parts(_with_absolute_template(options), problems)
    return _task(parts, pathlib.Path(root), command)
  except ValueError as error:
    raise UserError(str(error)) from error


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
  return learner_of(
    options, stage(options), _networks.reconstructor(options), total_steps
  )


def sources(config: Config, root: pathlib.Path) -> tuple[Any, dict[str, np.ndarray]]:
  """Returns the training source, and the held-out samples as one record."""
  options = _configs.read_config(config)
  data = options.data
  with _networks.section("data"):
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
      photos=_photos(options),
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


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """All that is made of options before a workdir and data are looked at."""

  options: Options
  stage: Stage
  mesh: Mesh
  networks: Reconstructor
  feature_net: FeatureNet | None


def checked_parts(options: Options, problems: Sequence[str] = ()) -> Parts:
  """Makes the parts of a stage that need no workdir and no data.

  Args:
    options: The options.
    problems: Mistakes of the config that were found before; all are reported.

  Raises:
    UserError: Something is wrong; the message names everything that is.
  """
  wrong = list(problems)

  def attempt(make: Callable[[Options], Made], *keys: str) -> Made | None:
    """Returns a part; without it if it is wrong or depends on a key that is."""
    if any(f"config.{key}" in problem for key in keys for problem in wrong):
      return None
    try:
      return make(options)
    except ValueError as error:
      wrong.append(str(error))
      return None

  this = attempt(stage, "stage", "epochs")
  if this is not None and this.name == UNSUP3D:
    attempt(
      lambda o: _require_unsup3d(o, this), "model", "dtype", "log", "features", "data"
    )
  mesh = attempt(_mesh, "mesh")
  attempt(_networks.require_arithmetic, "dtype", "affine_backend")
  attempt(_networks.require_networks, "model.size", "model.architecture")
  attempt(_networks.require_head, "model.template")
  networks = attempt(_networks.reconstructor, "model", "dtype", "affine_backend")
  attempt(_networks.discriminator, "model.discriminator", "dtype")
  feature_net = this and attempt(
    lambda o: _networks.feature_net(o, this), "features", "loss", "dtype"
  )
  if mesh is not None:
    attempt(lambda o: _require_divisible(o, mesh), "data", "accumulate")
  attempt(_require_source, "data.source", "data.mixture")
  if this is not None:
    attempt(lambda o: _require_schedule(o, this), "optimizer", "steps")
    attempt(lambda o: _require_metric(o, this), "checkpoint", "loss")
  attempt(_require_discriminator, "r1", "loss")
  if wrong:
    raise UserError("; ".join(wrong))
  assert this is not None
  assert mesh is not None
  assert networks is not None
  return Parts(options, this, mesh, networks, feature_net)


def _require_unsup3d(options: Options, this: Stage) -> None:
  _networks.unsup3d(options)
  if options.dtype != "float32":
    raise UserError(f"config.dtype must be float32 for unsup3d, got {options.dtype!r}")
  if options.log.shapes_every:
    raise UserError(
      "config.log.shapes_every must be 0 for unsup3d, which makes no heads, got "
      f"{options.log.shapes_every}"
    )
  changed = options.data.mirror or options.data.augment.active
  if _photos(options) > 1 and (changed or options.data.source == "mixed"):
    raise UserError(
      "config.model.unsup3d.photos: collections of photos need data.mirror=False, no "
      "data.augment and one data.source"
    )
  layers = options.features.layers
  if this.requires(Need.FEATURES) and layers not in ((5,), (6,), (7,)):
    raise UserError(
      "config.features.layers must be one of 5, 6 and 7 for unsup3d, whose confidence "
      f"maps have a quarter of the photo's size, such as (7,); got {layers}"
    )


def _mesh(options: Options) -> Mesh:
  with _networks.section("mesh"):
    return sharding.make_mesh(options.mesh)


def _require_divisible(options: Options, mesh: Mesh) -> None:
  batch_size = options.data.batch_size
  with _networks.section("data"):
    if batch_size < 1:
      raise ValueError(f"batch_size must be positive, got {batch_size}")
    sharding.require_divisible(batch_size, mesh, options.accumulate)


def _require_source(options: Options) -> None:
  data = options.data
  mixed = data.mixture if data.source == "mixed" else {}
  parts = {f"mixture.{name}: ": part.source for name, part in mixed.items()}
  for part, source in {"": data.source, **parts}.items():
    if source not in SOURCES:
      raise UserError(
        f"config.data: {part}source must be one of {', '.join(SOURCES)}, got {source!r}"
      )


def _require_schedule(options: Options, this: Stage) -> None:
  if options.steps:
    _optimizers(options, this, (), options.steps)


def _require_metric(options: Options, this: Stage) -> None:
  known, metric = (steps.TOTAL, *this.weights.active), options.checkpoint.metric
  with _networks.section("checkpoint"):
    if metric not in known:
      raise ValueError(f"metric must be one of {', '.join(known)}, got {metric!r}")


def _require_discriminator(options: Options) -> None:
  if options.r1.weight and not options.loss["adversarial_generator"]:
    raise UserError(
      f"config.r1: weight {options.r1.weight} needs a discriminator, but "
      "config.loss.adversarial_generator is 0"
    )


def _task(parts: Parts, root: pathlib.Path, command: str) -> Task:
  options, this, networks = parts.options, parts.stage, parts.networks
  stored = _configs.to_json(options)
  lock = workdir.claim(
    root, this.name, stored, resume=options.resume, completed=_configs.completed
  )
  source, held_out = sources(options, root)
  plan = _plan(options, this, len(source))
  learner = learner_of(options, this, networks, plan.total_steps)
  data = _batches(options, source, networks)
  return Task(
    learner=learner,
    plan=plan,
    start=start.begin(
      this,
      root,
      create=functools.partial(fresh_state, options, learner),
      fresh_params=_networks.fresh_params(options, networks),
      data=data,
      init_from=options.init_from,
      command=command,
    ),
    data=data,
    held_out=held_out,
    feature_net=parts.feature_net,
    mesh=parts.mesh,
    root=root,
    meta={
      "config": stored,
      "stage": this.name,
      "template": networks.template.name,
      "features": parts.feature_net.name if parts.feature_net else None,
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


def fresh_state(options: Options, learner: Learner, params: Params) -> TrainState:
  """Returns the state before the first update."""
  other = learner.discriminator
  return states.create(
    learner.stage,
    params,
    learner.optimizer,
    discriminator=other and _networks.discriminator(options).init(options.seed + 1),
    discriminator_optimizer=other and other.optimizer,
    averaged=options.ema > 0,
  )


def _with_absolute_template(options: Options) -> Options:
  """Makes the path of a template absolute: a workdir is used from any folder."""
  path = pathlib.Path(options.model.template)
  if options.model.template == "embedded" or not path.exists():
    return options
  model = dataclasses.replace(options.model, template=str(path.absolute()))
  return dataclasses.replace(options, model=model)


def learner_of(
  options: Options, this: Stage, networks: Reconstructor, total_steps: int
) -> Learner:
  """Returns the networks with their losses and optimizers."""
  absolute = networks.networks.row.layers == "absolute"
  affine = ("position", "diffuse", "light") if absolute else ()
  optimizer, other = _optimizers(options, this, affine, total_steps)
  discriminator = None
  if this.requires(Need.DISCRIMINATOR):
    discriminator = DiscriminatorLearner(
      _networks.discriminator(options), other, options.r1
    )
  return Learner(
    stage=this,
    reconstructor=_networks.result(options, networks),
    prepare=_prepare(options, networks),
    regions=make_regions(networks.template, options.model.size),
    optimizer=optimizer,
    discriminator=discriminator,
    antialias=options.antialias,
    mirrored=options.mirror_supervision,
    accumulate=options.accumulate,
    average=options.ema,
  )


def _optimizers(
  options: Options, this: Stage, slow: Sequence[str], total_steps: int
) -> tuple[optimizers.Optimizer, optimizers.Optimizer]:
  """Returns the optimizers of the networks and of the discriminator."""
  make = functools.partial(optimizers.make, total_steps=total_steps)
  slow = [name for name in slow if name in this.trains]
  with _networks.section("optimizer"):
    mine = make(options.optimizer, slow_networks=slow)
    return mine, make(options.optimizer.for_discriminator())


def _photos(options: Options) -> int:
  """Returns the number of photos of one person in a record."""
  return options.model.unsup3d.photos if options.stage == UNSUP3D else 1


def _prepare(
  options: Options, networks: Reconstructor
) -> Callable[[dict[str, Any]], Batch]:
  """Returns the function from records to batches, with guides if networks take them."""
  guided = networks.networks.guided
  guides = degradation(open_head(options.model.template)) if guided else None
  if _photos(options) > 1:
    return lambda record: to_batch(_single_photos(record), table=networks.table)
  return functools.partial(to_batch, table=networks.table, guides=guides)


def _single_photos(record: dict[str, Any]) -> dict[str, Any]:
  """Returns collections of photos as photos that follow one another."""
  return {name: record[name].reshape(-1, *record[name].shape[2:]) for name in FIELDS}


def _plan(options: Options, this: Stage, samples: int) -> Plan:
  """Returns the length of the stage; `steps` takes precedence over epochs."""
  batch_size = options.data.batch_size
  with _networks.section("data"):
    per_epoch = steps_per_epoch(samples, batch_size)
  total = options.steps or max(1, round(this.epochs * per_epoch))
  return Plan(total, per_epoch, batch_size, options.log, options.checkpoint)


def _batches(
  options: Options, source: Any, networks: Reconstructor
) -> Iterator[dict[str, np.ndarray]]:
  """Returns endless shuffled batches; the number of steps ends a stage."""
  data = options.data
  with _networks.section("data"):
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
