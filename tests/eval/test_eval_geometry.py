"""Alignment and geometric errors against twins, and values known beforehand."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from affjax import eval as evaluation
from affjax.geometry import camera
from affjax.heads import open_head
from tests.reference import eval as twin


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def _similar(rng, points, scale=1.3):
  turn = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
  return scale * points @ turn.T + rng.normal(size=3)


@pytest.mark.parametrize("scaled", [False, True])
def test_alignment_is_its_twin(rng, scaled):
  source = rng.normal(size=(2, 30, 3)).astype(np.float32)
  target = rng.normal(size=(2, 30, 3)).astype(np.float32)
  weights = rng.uniform(0, 1, 30).astype(np.float32)
  found = evaluation.align(source, target, weights, scaled=scaled)
  for k in range(2):
    scale, turn, shift = twin.similarity(source[k], target[k], weights, scaled)
    np.testing.assert_allclose(found.rotation[k], turn, atol=2e-5)
    np.testing.assert_allclose(found.scale[k], scale, rtol=2e-5)
    np.testing.assert_allclose(found.translation[k], shift, atol=2e-5)


def test_a_mirror_image_is_not_aligned_by_a_reflection(rng):
  points = rng.normal(size=(1, 40, 3)).astype(np.float32)
  mirrored = points * np.array([-1, 1, 1], np.float32)
  found = evaluation.align(points, mirrored, np.ones(40, np.float32), scaled=True)
  assert np.linalg.det(np.asarray(found.rotation[0])) == pytest.approx(1, abs=1e-5)


def test_position_error_after_each_alignment(rng):
  truth = rng.normal(size=(1, 50, 3)).astype(np.float32)
  weights = np.ones(50, np.float32)
  moved = _similar(rng, truth[0])[None].astype(np.float32)
  error = lambda a: float(
    evaluation.position_error(moved, truth, weights, alignment=a)[0]
  )
  assert error("similarity") < 1e-5 < error("rigid") < error("none")
  shifted = truth + np.array([0.03, 0, 0], np.float32)
  got = evaluation.position_error(shifted, truth, weights)
  np.testing.assert_allclose(got, [0.01], rtol=1e-4)
  got = evaluation.distance_error(shifted, truth, weights)
  np.testing.assert_allclose(got, [3.0], rtol=1e-4)


def test_a_region_is_measured_after_the_alignment_on_the_whole(rng):
  truth = rng.normal(size=(1, 50, 3)).astype(np.float32)
  off = truth.copy()
  off[0, :5, 1] += 0.3
  region = np.zeros(50, np.float32)
  region[:5] = 1
  got = evaluation.position_error(off, truth, np.ones(50, np.float32), region=region)
  np.testing.assert_allclose(got, [0.1], rtol=1e-4)


def test_unknown_alignment_names_the_known_ones(rng):
  points = np.zeros((1, 3, 3), np.float32)
  with pytest.raises(ValueError, match="none, scale, rigid, similarity, got 'affine'"):
    evaluation.position_error(points, points, np.ones(3), alignment="affine")


def test_pose_errors():
  truth = np.zeros((2, 6), np.float32)
  predicted = np.zeros((2, 6), np.float32)
  predicted[0, 1] = np.radians(12)
  predicted[1] = [0, 0, 0, 0.03, 0.04, -0.2]
  got = evaluation.rotation_error(predicted, truth)
  np.testing.assert_allclose(got, [12, 0], atol=1e-3)
  got = evaluation.translation_error(predicted, truth)
  np.testing.assert_allclose(got, [[0, 0], [5, 20]], atol=1e-3)


def test_normals_and_landmarks():
  a = np.array([[[1, 0, 0], [0, 2, 0], [0, 0, 1]]], np.float32)
  b = np.array([[[1, 1, 0], [0, 1, 0], [0, 0, -1]]], np.float32)
  weights = np.array([[1, 1, 0]], np.float32)
  np.testing.assert_allclose(evaluation.normal_error(a, b, weights), [22.5], atol=1e-3)
  truth = np.zeros((1, 68, 2), np.float32)
  truth[0, 36], truth[0, 45] = [0, 0], [50, 0]
  predicted = truth.copy()
  predicted[0, :17, 0] += 5
  predicted[0, 17:, 1] += 1
  np.testing.assert_allclose(
    evaluation.landmark_error(predicted, truth), [[2, 10]], rtol=1e-4
  )


def test_scan_distances_undo_a_similarity(rng):
  head = open_head("embedded").template
  skin = head.faces[head.face_groups == head.group_names.index("skin")]
  scan = _similar(rng, head.vertices, scale=1.0)
  front = np.unique(skin)[head.vertices[np.unique(skin), 2] > 0.2]
  pick = rng.permutation(front)[:400]
  marks = pick[:10]
  got = evaluation.scan_distances(
    scan[pick], head.vertices, skin, start=(head.vertices[marks], scan[marks]), steps=3
  )
  assert np.median(got.distances) < 0.01
  np.testing.assert_allclose(got.vertices, scan, atol=1e-3)


def test_scan_distances_see_a_bump(rng):
  head = open_head("embedded").template
  pick = rng.permutation(np.flatnonzero(head.vertices[:, 2] > 0.2))[:400]
  scan = head.vertices[pick].copy()
  scan[:20] += [0, 0, 0.05]
  got = evaluation.scan_distances(scan, head.vertices, head.faces, steps=5)
  assert np.median(got.distances[20:]) < 0.05
  assert got.distances[:20].mean() > 1


@pytest.mark.parametrize(
  ("points", "start", "message"),
  [
    (np.zeros((0, 3)), None, "must not be empty"),
    (np.full((4, 3), np.nan), None, "points must be finite"),
    (np.zeros((4, 3)), (np.zeros((2, 3)), np.zeros((2, 3))), "three or more"),
  ],
)
def test_scans_that_cannot_be_measured(points, start, message):
  head = open_head("embedded").template
  with pytest.raises(ValueError, match=message):
    evaluation.scan_distances(points, head.vertices, head.faces, start=start)


def test_regions_cover_the_head_once():
  head = open_head("embedded").template
  regions = evaluation.face_regions(head, 64)
  assert tuple(regions) == evaluation.REGIONS
  total = sum(regions.values())
  assert set(np.unique(total)) <= {0.0, 1.0}
  assert all(region.sum() > 4 for region in regions.values())
  # Mirror-symmetric layout: regions are, too, but for single texels.
  for region in regions.values():
    assert np.abs(region - region[:, ::-1]).mean() < 0.01


def test_camera_and_truth_share_their_unit():
  """A head moved by 1 mm along x is off by 1 mm, in mm."""
  head = jnp.asarray(open_head("embedded").template.vertices)[None]
  pose = jnp.array([[0, 0, 0, 0.01, 0, 0]])
  moved = camera.head_to_world(head, pose)
  got = evaluation.distance_error(moved, head, np.ones(head.shape[1], np.float32))
  np.testing.assert_allclose(got, [1.0], rtol=1e-3)
