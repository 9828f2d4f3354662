"""One run: training, learning curve, errors, and where the layers look."""

import dataclasses
import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from affjax import files
from affjax.data import degradation, to_batch
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world
from affjax.heads import open_head
from affjax.models import ARCHITECTURES, Reconstructor
from affjax.ops import average_pool
from affjax.train import optimizers
from affjax.types import Batch
from experiments.alignment import networks, photos, tasks
from experiments.alignment.photos import Photos, Records
from experiments.alignment.plan import BASELINES, Run, Settings
from experiments.benchmarks import measuring

Params = dict[str, Any]
# What a step needs of a record beside its guide's noise.
TRUTH = ("colors", "seen")


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
  """The compiled functions of a task and an architecture, for all seeds.

  Attributes:
    nets: The networks.
    update: `(trained, frozen, optimizer state, record) -> the three, loss`.
    measure: `(params, record) -> errors of each photo`.
    sampling: `(params, record) -> (distance, weight)` of each layer's texels.
    optimizer: The optimizer.
  """

  nets: Reconstructor
  update: Any
  measure: Any
  sampling: Any
  optimizer: optax.GradientTransformation


def record_to_batch(nets: Reconstructor, record: Records) -> Batch:
  """Returns the batch of stacked records, with guides if the networks take them."""
  guides = degradation(open_head("embedded")) if nets.networks.guided else None
  return to_batch(record, nets.table, guides=guides)


@functools.lru_cache(maxsize=32)
def program(name: str, architecture: str, settings: Settings, data: Photos) -> Program:
  """Returns the functions of a task and an architecture; they compile on first use."""
  task = tasks.TABLE[name]
  nets = networks.reconstructor(architecture, settings, data.deviation)
  adam = optimizers.Adam(
    learning_rate=settings.learning_rate,
    schedule="cosine",
    warmup_steps=settings.warmup,
  )
  absolute = ARCHITECTURES[architecture].layers == "absolute"
  optimizer = optimizers.make(
    adam, total_steps=settings.steps, slow_networks=task.trains if absolute else ()
  )

  def loss(trained: Params, frozen: Params, record: Records):
    batch = record_to_batch(nets, record)
    answer = task.answer(nets, {**frozen, **trained}, batch)
    return task.loss(nets, answer, batch, {key: record[key] for key in TRUTH})

  def update(trained: Params, frozen: Params, state: Any, record: Records):
    value, gradient = jax.value_and_grad(loss)(trained, frozen, record)
    gradient = _moving(gradient, task)
    change, state = optimizer.update(gradient, state, trained)
    return optax.apply_updates(trained, change), frozen, state, value

  def measure(params: Params, record: Records):
    batch = record_to_batch(nets, record)
    answer = task.answer(nets, params, batch)
    return task.measures(nets, answer, batch, {key: record[key] for key in TRUTH})

  sampling = functools.partial(layer_distances, nets, task.trains[0])
  return Program(nets, jax.jit(update), jax.jit(measure), jax.jit(sampling), optimizer)


def layer_distances(
  nets: Reconstructor, network: str, params: Params, record: Records
) -> list[tuple[jax.Array, jax.Array]]:
  """Returns how far each layer reads the photo from where the texel truly is.

  Returns:
    By layer 1 to 4: distance of the middle tap from the true place of the texel of a
    map of the layer's size, px of 64, and 1 where the texel is visible.
  """
  batch = record_to_batch(nets, record)
  size = nets.networks.size
  world = head_to_world(jnp.asarray(record["vertices"]), jnp.asarray(record["pose"]))
  seen = jnp.asarray(record["seen"]).astype(jnp.float32)
  found = []
  levels = nets.places(params, batch.image, guide=batch.guide, network=network)
  for places in levels:
    side, middle = places.shape[1], places[:, :, :, places.shape[3] // 2]
    true = uv.projection_affine(
      world, nets.template, nets.camera, size=side, resolution=(size, size)
    )[..., 2]
    away = jnp.linalg.norm(middle - true, axis=-1) * 64 / size
    share = average_pool(seen, size // side) if side < size else seen
    found.append((away, share[..., 0] > 0.5))
  return found


def train(run: Run, settings: Settings, data: Photos) -> dict[str, Any]:
  """Makes a run and returns its result, as JSON holds it."""
  task, made = (
    tasks.TABLE[run.task],
    program(run.task, run.architecture, settings, data),
  )
  params = _stilled(made.nets.init(run.seed), task)
  trained = {name: params[name] for name in task.trains}
  frozen = {name: params[name] for name in params if name not in task.trains}
  state = made.optimizer.init(trained)
  every = max(1, settings.steps // settings.points)
  curve, seconds, started = [], [], time.perf_counter()
  error = lambda: float(errors(made, {**frozen, **trained}, settings, data)[task.curve])
  curve.append((0, error()))
  for step, record in enumerate(photos.batches(data, settings, run.seed), start=1):
    wall, cpu = time.perf_counter(), time.process_time()
    trained, frozen, state, value = made.update(trained, frozen, state, record)
    if not np.isfinite(float(value)):
      raise FloatingPointError(f"{run}: the loss of step {step} is {float(value)}")
    seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    if step % every == 0 or step == settings.steps:
      curve.append((step, error()))
  last = {**frozen, **trained}
  wall, cpu = np.median(seconds[1:], 0) if len(seconds) > 1 else seconds[0]
  return {
    **dataclasses.asdict(run),
    "settings": dataclasses.asdict(settings),
    "parameters": networks.parameters(trained),
    "errors": errors(made, last, settings, data),
    "curve": curve,
    "sampling_px_of_64": sampling(made, last, settings, data),
    "seconds_a_step": {"wall": float(wall), "cpu": float(cpu)},
    "seconds": time.perf_counter() - started,
    "machine": measuring.machine("cpu", 1),
  }


def errors(
  made: Program, params: Params, settings: Settings, data: Photos
) -> dict[str, float]:
  """Returns the mean errors of the held-out photos."""
  parts = photos.chunks(data.held_out, settings.batch)
  found = [jax.device_get(made.measure(params, part)) for part in parts]
  return {
    name: float(np.mean(np.concatenate([part[name] for part in found])))
    for name in found[0]
  }


def sampling(
  made: Program, params: Params, settings: Settings, data: Photos
) -> list[float]:
  """Returns the median distance of each layer's samples from visible texels."""
  parts = [
    jax.device_get(made.sampling(params, part))
    for part in photos.chunks(data.held_out, settings.batch)
  ]
  layers = zip(*parts, strict=True)
  return [
    float(np.median(np.concatenate([away[seen] for away, seen in layer])))
    for layer in layers
  ]


def write_baselines(
  name: str, settings: Settings, data: Photos, root: pathlib.Path
) -> None:
  """Writes the errors of a task without any network, as results of their own."""
  nets = networks.reconstructor("guided", settings, data.deviation)
  task = tasks.TABLE[name]
  inside = data.train["colors"][:, nets.table.support]
  color = (inside.mean((0, 1)) / 255).astype(np.float32)

  @jax.jit
  def measure(record: Records):
    batch = record_to_batch(nets, record)
    truth = {key: record[key] for key in TRUTH}
    answers = tasks.baselines(name, nets, batch, color)
    return {key: task.measures(nets, a, batch, truth) for key, a in answers.items()}

  parts = [
    jax.device_get(measure(part))
    for part in photos.chunks(data.held_out, settings.batch)
  ]
  for baseline in BASELINES[name]:
    found = {
      error: float(np.mean(np.concatenate([part[baseline][error] for part in parts])))
      for error in task.units
    }
    run = Run(name, baseline, 0)
    result = {
      **dataclasses.asdict(run),
      "settings": dataclasses.asdict(settings),
      "errors": found,
    }
    files.write_json(run.path(root), result)


def _stilled(params: Params, task: tasks.Task) -> Params:
  """Returns parameters with zeros in the layers that stay still."""
  params = {name: dict(network) for name, network in params.items()}
  for network, layer in task.still:
    params[network][layer] = jax.tree.map(jnp.zeros_like, params[network][layer])
  return params


def _moving(gradient: Params, task: tasks.Task) -> Params:
  """Returns gradients with zeros in the layers that stay still."""
  return _stilled(
    gradient,
    dataclasses.replace(
      task,
      still=tuple(
        (network, layer) for network, layer in task.still if network in gradient
      ),
    ),
  )
