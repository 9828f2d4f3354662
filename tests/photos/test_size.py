"""The size of a head from its irises."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.export import Reconstruction, _projection
from affjax.faces import Face
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.photos import _size
from affjax.types import Camera

MAP = 64


@pytest.fixture(scope="module")
def head():
  template = open_head("embedded").template
  table = uv.uv_table(template, MAP)
  position = uv.map_from_vertices(jnp.asarray(template.vertices), table)
  return Reconstruction(
    template=template,
    camera=Camera(),
    crop_image=np.zeros((MAP, MAP, 3), np.float32),
    crop=np.array([[0.1, 0.02, -30], [-0.02, 0.1, -5.0]]),
    position=np.asarray(position),
    diffuse=np.zeros((MAP, MAP, 3), np.float32),
    light=np.ones((8, 8, 1), np.float32),
    light_color=np.ones(3, np.float32),
    pose=np.array([0.05, 0.2, 0, 0.1, 0, -1.0]),
    found={},
    notes={"doubts": ["first"]},
  )


def _face(head, mm):
  """A face whose irises look into the camera and are so wide on the mean head."""
  points = head.template.landmark_positions(head.mesh.vertices)
  forward = _projection.photo_rotation(head.pose, np.eye(2, 3))
  iris = np.zeros((2, 5, 2))
  for k, pair in enumerate(((36, 39), (42, 45))):
    center = points[list(pair)].mean(0)
    for end, (x, y) in enumerate([(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)]):
      place = center + np.array([x, y, 0]) @ forward * mm / 200
      iris[k, end] = _projection.project(place[None], head.projection)[0]
  return Face(
    box=np.zeros(4),
    score=1.0,
    landmarks=np.zeros((468, 3)),
    landmarks68=np.zeros((68, 2)),
    iris=iris,
  )


@pytest.mark.parametrize("mm", [10.0, 11.7, 13.0])
def test_irises_become_11_7_mm_wide(head, mm):
  sized = _size.with_size(head, _face(head, mm))
  assert sized.scale == pytest.approx(11.7 / mm, rel=0.01)
  assert sized.notes == {"doubts": ["first"], "iris_mm": 11.7}
  np.testing.assert_allclose(
    np.ptp(sized.mesh.meters, axis=0),
    np.ptp(head.mesh.meters, axis=0) * sized.scale,
    rtol=1e-5,
  )


@pytest.mark.parametrize("mm", [3.0, 30.0, np.nan])
def test_implausible_irises_are_a_doubt(head, mm):
  kept = _size.with_size(head, _face(head, mm))
  assert kept.scale == 1
  assert kept.notes["doubts"][0] == "first"
  assert "irises would make the head" in kept.notes["doubts"][1]


def test_the_half_shut_eye_does_not_count(head):
  face = _face(head, 11.7)
  iris = face.iris.copy()
  iris[0] = iris[0].mean(0)
  sized = _size.with_size(head, dataclasses.replace(face, iris=iris))
  assert sized.scale == pytest.approx(1, rel=0.01)
