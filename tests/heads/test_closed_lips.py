"""The lips of every person are closed at rest, and the mouth opens to show teeth."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry.camera import head_to_world, world_to_clip
from affjax.heads import open_head, sample_identity
from affjax.render import group_of, rasterize
from affjax.types import Camera

# The camera sees 0.7 dm around the mouth; yaw of the views, degrees.
_CAMERA, _SIZE, _YAW_DEG = Camera(fov_deg=4.0), 160, (-30, 0, 30)
_MOUTH = list(range(48, 68))


@pytest.fixture(scope="module")
def model():
  return open_head("embedded")


def _teeth(model, identity, expression):
  """Pixels `[N, 3]` of teeth and tongue that each view of each head shows."""
  count, views = len(identity), len(_YAW_DEG)
  units = np.zeros((count, len(model.expression_names)), np.float32)
  for name, value in expression.items():
    units[:, model.expression_names.index(name)] = value
  template = model.template
  heads = model.vertices(identity, units)
  points = template.landmark_positions(model.vertices(identity, 0 * units))
  heads = heads - np.asarray(points)[:, _MOUTH].mean(1, keepdims=True)
  pose = np.zeros((count * views, 6), np.float32)
  pose[:, 1] = np.tile(np.radians(_YAW_DEG), count)
  world = head_to_world(np.repeat(heads, views, 0), pose)
  clip = jnp.asarray(world_to_clip(world, _CAMERA))
  rast = rasterize(clip, template.faces, (_SIZE, _SIZE))
  shown = group_of(rast, template) == template.group_names.index("teeth")
  return np.asarray(shown.sum((1, 2))).reshape(count, views)


def _people(model, count):
  return sample_identity(np.random.default_rng(7), model, count)


def test_no_teeth_show_through_closed_lips(model):
  people = np.concatenate([0 * _people(model, 1), _people(model, 20)])
  assert not _teeth(model, people, {}).any()


@pytest.mark.parametrize(
  "expression",
  [
    {"jawOpen": 0.3},
    {
      "mouthSmileLeft": 0.8,
      "mouthSmileRight": 0.8,
      "mouthUpperUpLeft": 0.35,
      "mouthUpperUpRight": 0.35,
      "jawOpen": 0.25,
    },
  ],
)
def test_an_open_mouth_shows_teeth(model, expression):
  shown = _teeth(model, _people(model, 3), expression)
  assert shown.min() > 0.01 * _SIZE**2


def test_modes_move_both_lips_alike(model):
  """Landmarks of the inner lips keep their distance; those of the outer lips do not."""
  template = model.template
  points = np.asarray(
    template.landmark_positions(
      model.vertices(_people(model, 50), np.zeros((50, 52), np.float32))
    )
  )
  inner = points[:, [61, 62, 63], 1] - points[:, [67, 66, 65], 1]
  outer = points[:, [50, 51, 52], 1] - points[:, [58, 57, 56], 1]
  assert inner.std(0).max() < 0.3 * outer.std(0).min()
