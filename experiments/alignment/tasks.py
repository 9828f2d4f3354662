"""What the networks are asked for, and how their answers are measured."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from affjax.eval import depth_errors, distance_error
from affjax.geometry import uv
from affjax.geometry.camera import world_to_px
from affjax.losses import (
  Context,
  LossWeights,
  compute_terms,
  image_l1,
  make_regions,
  weighted,
)
from affjax.models import Reconstructor
from affjax.render import head_buffers, shade
from affjax.types import Batch, Guide, Prediction
from experiments.alignment.networks import in_photo

Truth = Mapping[str, Array]
Params = dict[str, Any]
# The terms of stage 2 that need no other network.
SELF_SUPERVISED = LossWeights().only("image_l1", "deviation", "variation", "symmetry")


@dataclasses.dataclass(frozen=True)
class Task:
  """One task.

  Attributes:
    trains: The networks that are trained.
    still: Layers `(network, layer)` whose parameters are set to zero and stay so: the
      position network then says the mean head or the guide, the light network 1.
    answer: `(reconstructor, params, batch) -> answer`.
    loss: `(reconstructor, answer, batch, truth) -> scalar`.
    measures: The same arguments -> errors of each photo by name.
    curve: The error of the learning curves.
    units: Unit of each error, with an arrow to where it is better.
  """

  trains: tuple[str, ...]
  still: tuple[tuple[str, str], ...]
  answer: Callable[[Reconstructor, Params, Batch], Any]
  loss: Callable[[Reconstructor, Any, Batch, Truth], Array]
  measures: Callable[[Reconstructor, Any, Batch, Truth], dict[str, Array]]
  curve: str
  units: dict[str, str]


def eye_distance(nets: Reconstructor) -> float:
  """Returns the distance of the outer eye corners of the mean head, dm."""
  marks = nets.template.landmark_positions(nets.template.vertices)
  return float(np.linalg.norm(marks[36] - marks[45]))


def seen_and_hidden(nets: Reconstructor, truth: Truth) -> tuple[Array, Array]:
  """Returns the texels that photos show, and the other ones of the head."""
  seen = jnp.asarray(truth["seen"]).astype(jnp.float32)
  return seen, jnp.asarray(nets.table.support)[None, ..., None] * (1 - seen)


def guide_pose(guide: Guide) -> Array:
  """Returns poses of guides; zeros where there is none."""
  return jnp.asarray(guide.pose) * jnp.asarray(guide.known)[:, None]


def baselines(
  task: str, nets: Reconstructor, batch: Batch, color: np.ndarray
) -> dict[str, Any]:
  """Returns answers without a network, by name: the head or the color of no one.

  Args:
    task: Name of the task.
    nets: Guided networks, for the map's layout.
    batch: The photos, with guides.
    color: Mean color of the training photos' texels.
  """
  shape = batch.diffuse.shape
  if task == "position":
    assert batch.guide is not None
    mean = jnp.broadcast_to(nets.template.vertices[None], batch.guide.vertices.shape)
    known = jnp.asarray(batch.guide.known)[:, None, None] > 0
    coarse = jnp.where(known, batch.guide.vertices, mean)
    laid = lambda vertices: uv.map_from_vertices(vertices, nets.table)
    guides = in_photo(laid(coarse), guide_pose(batch.guide), nets.camera)
    return {"mean head": laid(mean), "guide": guides}
  flat = jnp.broadcast_to(color.reshape(1, 1, 1, 3), shape)
  if task == "colors":
    return {"constant color": flat}
  return {"constant color": _unlit(nets, flat, batch)}


def _unlit(nets: Reconstructor, diffuse: Array, batch: Batch) -> Prediction:
  """Returns heads of a diffuse map in plain light, of which just the skin is seen."""
  count, side = len(batch.pose), nets.networks.size // 8
  return Prediction(
    position=batch.position,
    diffuse=diffuse,
    light=jnp.ones((count, side, side, 1)),
    light_color=jnp.ones((count, 3)),
    pose=batch.pose,
    vertices=jnp.zeros((count, *nets.template.vertices.shape)),
    render=diffuse * batch.visible,
    alpha=batch.visible,
  )


def _position(nets: Reconstructor, params: Params, batch: Batch) -> Array:
  guide = batch.guide
  found = nets(params, batch.image, guide=guide, pose=batch.pose, render=False).position
  return found if guide is None else in_photo(found, guide_pose(guide), nets.camera)


def _distance(nets: Reconstructor, answer: Array, batch: Batch) -> Array:
  true = in_photo(batch.position, batch.pose, nets.camera)
  support = jnp.asarray(nets.table.support)[None]
  away = jnp.sqrt(jnp.sum((answer - true) ** 2, -1) + 1e-10)
  return jnp.sum(away * support, (1, 2)) / jnp.sum(support)


def _position_loss(
  nets: Reconstructor, answer: Array, batch: Batch, truth: Truth
) -> Array:
  return jnp.mean(_distance(nets, answer, batch)) / eye_distance(nets)


def _position_measures(
  nets: Reconstructor, answer: Array, batch: Batch, truth: Truth
) -> dict[str, Array]:
  eyes, size = eye_distance(nets), nets.networks.size
  flat = lambda maps: maps.reshape(len(maps), -1, 3)
  true = in_photo(batch.position, batch.pose, nets.camera)
  support = nets.table.support.ravel().astype(np.float32)
  shape = distance_error(flat(answer), flat(true), support, alignment="similarity")
  px = lambda maps: world_to_px(maps, nets.camera, size, size)[..., :2]
  away = jnp.linalg.norm(px(answer) - px(true), axis=-1) * 64 / size
  seen = seen_and_hidden(nets, truth)[0][..., 0]
  return {
    "distance": 100 * _distance(nets, answer, batch) / eyes,
    "place": jnp.sum(away * seen, (1, 2)) / jnp.sum(seen, (1, 2)),
    "shape": shape / eyes,
    **_depth_measures(nets, answer, batch),
  }


def _depth_measures(
  nets: Reconstructor, answer: Array, batch: Batch
) -> dict[str, Array]:
  """Returns SIDE, times 100 as in the paper, and MAD of depth maps of the photo."""
  truth = in_photo(batch.position, batch.pose, nets.camera)
  depth, other = (
    head_buffers(
      uv.vertices_from_map(maps, nets.table), nets.template, nets.camera, (64, 64)
    ).depth[..., 0]
    for maps in (answer, truth)
  )
  found = depth_errors(depth, other, protocol="mesh")
  return {"side": 100 * found.side, "mad": found.mad}


def _colors(nets: Reconstructor, params: Params, batch: Batch) -> Array:
  guide = batch.guide
  pose = batch.pose if guide is None else guide_pose(guide)
  return nets(params, batch.image, guide=guide, pose=pose, render=False).diffuse


def _true_colors(truth: Truth) -> Array:
  return jnp.asarray(truth["colors"]).astype(jnp.float32) / 255


def _color_loss(
  nets: Reconstructor, answer: Array, batch: Batch, truth: Truth
) -> Array:
  support = jnp.asarray(nets.table.support)[None, ..., None]
  away = jnp.abs(answer - _true_colors(truth)) * support
  return jnp.sum(away) / (3 * len(answer) * jnp.sum(support))


def _color_measures(
  nets: Reconstructor, answer: Array, batch: Batch, truth: Truth
) -> dict[str, Array]:
  square = (answer - _true_colors(truth)) ** 2
  masks = zip(("visible", "hidden"), seen_and_hidden(nets, truth), strict=True)
  error = lambda mask: (
    jnp.sum(square * mask, (1, 2, 3)) / (3 * jnp.sum(mask, (1, 2, 3)))
  )
  return {name: -10 * jnp.log10(error(mask) + 1e-8) for name, mask in masks}


def _rendered(nets: Reconstructor, params: Params, batch: Batch) -> Prediction:
  return nets(params, batch.image, guide=batch.guide, pose=batch.pose, antialias=False)


def _stage2_loss(
  nets: Reconstructor, answer: Prediction, batch: Batch, truth: Truth
) -> Array:
  regions = make_regions(nets.template, nets.networks.size)
  terms = compute_terms(Context(answer, batch, regions), SELF_SUPERVISED)
  return weighted(terms, SELF_SUPERVISED)[0]


def _stage2_measures(
  nets: Reconstructor, answer: Prediction, batch: Batch, truth: Truth
) -> dict[str, Array]:
  one = lambda *images: image_l1(*(image[None] for image in images)).value
  away = jax.vmap(one)(answer.render, answer.alpha, batch.image, batch.visible)
  texture = shade(answer.diffuse, answer.light, answer.light_color)
  return {"image": 255 * away, **_color_measures(nets, texture, batch, truth)}


_COLOR_UNITS = {"visible": "visible texels, dB ↑", "hidden": "hidden texels, dB ↑"}
TABLE = {
  "position": Task(
    trains=("position",),
    still=(),
    answer=_position,
    loss=_position_loss,
    measures=_position_measures,
    curve="distance",
    units={
      "distance": "3D distance, % of the eyes' ↓",
      "place": "place in the photo, px of 64 ↓",
      "shape": "after similarity, % of the eyes' ↓",
      "side": "SIDE, 1e-2 ↓",
      "mad": "MAD, deg ↓",
    },
  ),
  "colors": Task(
    trains=("diffuse",),
    still=(("position", "layer11"), ("light", "output"), ("light", "output_color")),
    answer=_colors,
    loss=_color_loss,
    measures=_color_measures,
    curve="visible",
    units=_COLOR_UNITS,
  ),
  "stage2": Task(
    trains=("diffuse", "light"),
    still=(("position", "layer11"),),
    answer=_rendered,
    loss=_stage2_loss,
    measures=_stage2_measures,
    curve="image",
    units={"image": "render against photo, of 255 ↓", **_COLOR_UNITS},
  ),
}
