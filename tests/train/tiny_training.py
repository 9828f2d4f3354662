"""A head of 25 vertices and networks of a few numbers: training without its parts."""

import dataclasses
import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from affjax.data import training_batches
from affjax.geometry import uv
from affjax.losses import LossWeights, Need, make_regions
from affjax.train import (
  checkpoint,
  loop,
  optimizers,
  provenance,
  sharding,
  stages,
  start,
  states,
  steps,
  workdir,
)
from affjax.train.discriminators import DiscriminatorLearner, R1Penalty
from affjax.train.loop import Log
from affjax.train.optimizers import Adam
from affjax.train.retention import Checkpointing
from affjax.train.sharding import MeshShape
from affjax.train.steps import Learner
from affjax.types import Batch, Prediction, Template

PHOTO, MAP = 16, 16


def make_template() -> Template:
  """A gently curved square sheet that faces the camera."""
  u, v = np.meshgrid(np.linspace(0.1, 0.9, 5), np.linspace(0.1, 0.9, 5))
  uvs = np.stack([u.ravel(), v.ravel()], -1).astype(np.float32)
  depth = 1 - np.sum((uvs - 0.5) ** 2, -1, keepdims=True)
  vertices = np.concatenate([(uvs - 0.5) * 2, depth], -1).astype(np.float32)
  corner = (np.arange(4)[:, None] * 5 + np.arange(4)[None]).ravel()
  lower = np.stack([corner, corner + 1, corner + 6], -1)
  upper = np.stack([corner, corner + 6, corner + 5], -1)
  faces = np.concatenate([lower, upper]).astype(np.int32)
  return Template(
    name="sheet",
    vertices=vertices,
    faces=faces,
    uvs=uvs,
    faces_uv=faces,
    face_groups=np.zeros(len(faces), np.int32),
    group_names=("skin",),
    masks={"skin": np.ones((MAP, MAP), np.float32)},
    landmark_faces=np.zeros(68, np.int32),
    landmark_weights=np.full((68, 3), 1 / 3, np.float32),
  )


class Source:
  """Sheets of different depth and color; the photo shows both."""

  facts = None

  def __init__(self, template: Template, count: int, *, first: int = 0):
    self._template, self._count, self._first = template, count, first

  def settings(self) -> dict[str, int]:
    return {"first": self._first}

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(self._first + int(index))
    scale, color = random.uniform(0.5, 1.5), random.uniform(0.2, 0.8, 3)
    colors = np.broadcast_to(color, (PHOTO, PHOTO, 3)).copy()
    colors[0, :, :] = scale / 2
    return {
      "image": np.round(colors * 255).astype(np.uint8),
      "visible": np.full((PHOTO, PHOTO, 1), 255, np.uint8),
      "vertices": self._template.vertices * np.float32([1, 1, scale]),
      "pose": random.normal(0, 0.1, 6).astype(np.float32),
      "diffuse": np.round(np.tile(color, (MAP, MAP, 1)) * 255).astype(np.uint8),
      "has_pose": np.float32(1),
      "has_diffuse": np.float32(index % 2),
    }


def to_batch(record, *, table) -> Batch:
  """A record of stacked arrays as float arrays."""
  record = jax.tree.map(jnp.asarray, record)
  return Batch(
    image=record["image"].astype(jnp.float32) / 255,
    visible=record["visible"].astype(jnp.float32) / 255,
    position=uv.map_from_vertices(record["vertices"], table),
    pose=record["pose"],
    diffuse=record["diffuse"].astype(jnp.float32) / 255,
    has_pose=record["has_pose"],
    has_diffuse=record["has_diffuse"],
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
  """Four linear networks and a renderer that shows the middle of the diffuse map."""

  template: Template

  def init(self, seed: int):
    random = np.random.default_rng(seed)
    width = {"diffuse": 3, "light": 1, "pose": 6}
    params = {
      name: {"kernel": jnp.asarray(random.normal(0, 0.1, (4, n)), jnp.float32)}
      for name, n in width.items()
    }
    kernel = jnp.asarray(random.normal(0, 0.1, (4, 3)), jnp.float32)
    params["position"] = {"predictor": {"kernel": kernel}}
    return params

  def __call__(self, params, images, *, antialias=True, render=True) -> Prediction:
    count = images.shape[0]
    color = images[:, 8:].mean((1, 2))
    seen = jnp.concatenate([color, images[:, 0, :, :1].mean(1)], -1)
    stretch = seen @ params["position"]["predictor"]["kernel"]
    mean = uv.map_from_vertices(
      jnp.asarray(self.template.vertices), uv.uv_table(self.template, MAP)
    )
    position = mean[None] * (1 + stretch[:, None, None])
    diffuse = jax.nn.sigmoid(seen @ params["diffuse"]["kernel"])[:, None, None]
    diffuse = jnp.tile(diffuse, (1, MAP, MAP, 1))
    light = jax.nn.softplus(seen @ params["light"]["kernel"])[:, None, None]
    light = jnp.tile(light, (1, MAP // 8, MAP // 8, 1))
    alpha = jnp.zeros((count, PHOTO, PHOTO, 1)).at[:, 4:12, 4:12].set(1.0)
    shaded = jnp.clip(diffuse * light[:, :1, :1], 0, 1)[:, :PHOTO, :PHOTO]
    return Prediction(
      position=position,
      diffuse=diffuse,
      light=light,
      light_color=jnp.ones((count, 3)),
      pose=seen @ params["pose"]["kernel"],
      vertices=jnp.zeros((count, 25, 3)),
      render=alpha * shaded,
      alpha=alpha,
    )


class Discriminators:
  """A linear discriminator at two scales."""

  def init(self, seed: int):
    kernel = np.random.default_rng(seed).normal(0, 0.1, (2, 3, 1))
    return {"kernel": jnp.asarray(kernel, jnp.float32)}

  def __call__(self, params, images):
    return [images[:, ::s, ::s] @ params["kernel"][s - 1] for s in (1, 2)]


def make_data(source, *, batch_size: int, seed: int = 0):
  """Shuffled batches without end; of several processes, the part of this one."""
  return training_batches(source, batch_size=batch_size, seed=seed, threads=1)


def stacked(source) -> dict[str, np.ndarray]:
  """All records of a source as one."""
  records = [source[i] for i in range(len(source))]
  return {key: np.stack([r[key] for r in records]) for key in records[0]}


TEMPLATE = make_template()


def make_optimizer(**options):
  """Adam without clipping, unless the options say otherwise."""
  return optimizers.make(Adam(**{"clip_norm": 0.0, **options}), total_steps=1)


@functools.cache
def make_learner(
  name: str,
  *,
  learning_rate=1e-2,
  mirrored=False,
  clip_norm=1.0,
  accumulate=1,
  average=0.0,
  r1=0.0,
  **weights,
) -> Learner:
  """A learner of one of the paper's stages, without the feature network.

  It is always the same object, so that `conftest.py` compiles its step once.
  """
  plain = {"perceptual": 0.0, "diffuse_perceptual": 0.0, "pose_l1": 1.0}
  stage = stages.paper_stage(name, weights=LossWeights(**{**plain, **weights}))
  slow = make_optimizer(learning_rate=learning_rate / 10, beta1=0.5, beta2=0.9)
  other = DiscriminatorLearner(Discriminators(), slow, R1Penalty(r1, every=2))
  return Learner(
    stage=stage,
    reconstructor=Networks(TEMPLATE),
    prepare=functools.partial(to_batch, table=uv.uv_table(TEMPLATE, MAP)),
    regions=make_regions(TEMPLATE, MAP),
    optimizer=make_optimizer(learning_rate=learning_rate, clip_norm=clip_norm),
    discriminator=other if stage.requires(Need.DISCRIMINATOR) else None,
    antialias=True,
    mirrored=mirrored,
    accumulate=accumulate,
    average=average,
  )


def make_state(learner: Learner, *, params=None) -> states.TrainState:
  """The state of a learner before its first update."""
  return states.create(
    learner.stage,
    learner.reconstructor.init(0) if params is None else params,
    learner.optimizer,
    discriminator=Discriminators().init(1) if learner.discriminator else None,
    discriminator_optimizer=learner.discriminator and learner.discriminator.optimizer,
    averaged=learner.average > 0,
  )


def train(learner: Learner, start, record, *, updates=1, devices=1, model=1):
  """The state after some steps on one record, and the scalars of each step."""
  mesh = sharding.make_mesh(MeshShape(devices // model, model))
  update = steps.make_update(learner, mesh)
  now = sharding.put_state(start, mesh)
  history = []
  for _ in range(updates):
    now, scalars = update(now, None, sharding.put_batch(record, mesh))
    history.append({name: float(value) for name, value in scalars.items()})
  return now, history


def same(a, b) -> bool:
  """Whether two trees agree to the bit."""
  (left, one), (right, other) = jax.tree.flatten(a), jax.tree.flatten(b)
  return one == other and all(map(np.array_equal, left, right))


def make_task(
  root,
  *,
  name="stage1",
  total_steps=8,
  learning_rate=1e-2,
  checkpoint_every=2,
  tensorboard=False,
  devices=1,
  model=1,
  log_every=2,
  histograms_every=0,
  resume="auto",
  init_from="",
  average=0.0,
  **kept,
) -> loop.Task:
  """One stage in a workdir, as `build.task` makes it."""
  root = pathlib.Path(root)
  learner = make_learner(name, learning_rate=learning_rate, average=average)
  config = {"model": {"template": "sheet"}, "learning_rate": learning_rate}
  lock = workdir.claim(root, name, config, resume=resume)
  data = make_data(Source(TEMPLATE, 16), batch_size=4)
  return loop.Task(
    learner=learner,
    plan=loop.Plan(
      total_steps=total_steps,
      epoch_steps=4,
      batch_size=4,
      log=Log(
        every=log_every,
        pictures_every=0,
        histograms_every=histograms_every,
        tensorboard=tensorboard,
      ),
      checkpoint=Checkpointing(every=checkpoint_every, **kept),
    ),
    start=start.begin(
      learner.stage,
      root,
      create=lambda params: make_state(learner, params=params),
      fresh_params=learner.reconstructor.init(0),
      data=data,
      init_from=init_from,
      command=f"train --config={name}",
    ),
    data=data,
    held_out=stacked(Source(TEMPLATE, 3, first=100)),
    feature_net=None,
    mesh=sharding.make_mesh(MeshShape(devices // model, model)),
    root=root,
    meta={
      "config": config,
      "stage": name,
      "features": None,
      "software": provenance.describe(),
    },
    lock=lock,
  )


def final_params(root, name="stage1"):
  """The weights in the newest checkpoint of a stage."""
  learner = make_learner(name)
  with checkpoint.Checkpoints(pathlib.Path(root) / name) as checkpoints:
    return checkpoints.restore_params(learner.reconstructor.init(0))[0]


if __name__ == "__main__":
  # python tiny_training.py WORKDIR STEPS: something to kill.
  loop.run(make_task(sys.argv[1], total_steps=int(sys.argv[2]), checkpoint_every=5))
