"""True depth maps for Unsup3D's protocol."""

import numpy as np
import pytest

from affjax.eval import Truths, depth_errors, unsup3d_depths
from affjax.geometry import depth
from affjax.heads import open_head
from affjax.types import Camera

SIZE = 32


def truths(camera: Camera) -> Truths:
  """The mean head, straight and moved back by a decimeter; its left half is seen."""
  template = open_head("embedded").template
  visible = np.zeros((2, SIZE, SIZE), bool)
  visible[:, :, : SIZE // 2] = True
  pose = np.zeros((2, 6), np.float32)
  pose[1, 5] = -1
  return Truths(
    names=("near", "far"),
    template=template,
    camera=camera,
    photos=np.zeros((2, SIZE, SIZE, 3), np.uint8),
    visible=visible,
    vertices=np.stack([template.vertices] * 2).astype(np.float32),
    pose=pose,
  )


def test_depths_are_those_of_the_head_in_the_unit_of_unsup3d():
  camera = depth.camera(Camera(), SIZE)
  known = truths(camera)
  found = unsup3d_depths(known)
  assert (found[:, :, SIZE // 2 :] == np.float32(1.2)).all()
  seen = found[:, :, : SIZE // 2] < 1.2
  assert 0.3 < seen.mean() < 1
  middle = found[:, SIZE // 2, SIZE // 2 - 1]
  # The nose is nearer than the center of the head, whose depth is 1.
  front = known.template.vertices[:, 2].max()
  assert 1 - front / camera.distance <= middle[0] < 0.97
  assert middle[1] - middle[0] == pytest.approx(1 / camera.distance, abs=2e-3)
  exact = depth_errors(found, found)
  assert np.asarray(exact.side) == pytest.approx([0, 0], abs=1e-5)
  assert np.asarray(exact.pixels).min() > 50
  constant = depth_errors(np.ones_like(found), found)
  assert 0.005 < np.asarray(constant.side)[0] < 0.05


def test_photos_of_another_camera_are_refused():
  with pytest.raises(ValueError, match=r"must be of a camera of 10\.32"):
    unsup3d_depths(truths(Camera()))
