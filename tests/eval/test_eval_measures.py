"""The table of measures on heads that are moved in known ways."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from affjax import eval as evaluation
from affjax.eval import Cases, Heads, Meshes, Truths, _texels
from affjax.heads import open_head, random_vertices
from affjax.types import Camera
from tests.reference import measures


@pytest.fixture(scope="module")
def truths():
  """Two random heads, the second turned, in photos of a single gray."""
  model = open_head("embedded")
  vertices = random_vertices(np.random.default_rng(0), model, 2)
  pose = np.zeros((2, 6), np.float32)
  pose[1, 1] = np.radians(40)
  marks = model.template.landmark_positions(vertices)[:, 30]
  near = np.linalg.norm(vertices - marks[:, None], axis=-1) < 0.95
  near[:, model.template.faces[model.template.face_groups != 0]] = False
  return Truths(
    names=("a", "b"),
    template=model.template,
    camera=Camera(),
    photos=np.full((2, 64, 64, 3), 128, np.uint8),
    visible=np.ones((2, 64, 64), bool),
    vertices=vertices,
    pose=pose,
    diffuse=np.full((2, 64, 64, 3), 0.5, np.float32),
    light=np.ones((2, 8, 8, 1), np.float32),
    scans=tuple(v[some][::3] for v, some in zip(vertices, near, strict=True)),
  )


def _heads(truths, **changes):
  same = Heads(truths.vertices, truths.pose, truths.diffuse, truths.light)
  return dataclasses.replace(same, **changes)


def test_the_truth_itself_has_no_error(truths):
  found = evaluation.measured(Cases(truths, _heads(truths)))
  assert list(found) == [measure.name for measure in evaluation.MEASURES]
  for measure in evaluation.MEASURES:
    whole = found[measure.name][""]
    assert whole.shape == (2,), measure.name
    if measure.name in evaluation.RETRIEVALS:
      # Both photos are the same gray: the own one is found after the other one.
      assert (whole == (measure.name == "identity top-5")).all()
    elif measure.higher:
      # Perfect maps have an infinite PSNR; gray photos do not look like the head.
      assert (whole > 0.1).all(), measure.name
    elif not measure.name.startswith("render"):
      limit = 0.1 if measure.unit == "deg" else 0.02
      assert (whole < limit).all(), measure.name


def test_heads_lead_to_their_photos_when_these_are_their_renders(truths):
  size = 256
  heads = _heads(truths, pose=np.zeros((2, 6), np.float32))
  heads.diffuse[1, ..., 0] = 0.8
  images, alpha = evaluation.rendered(Cases(truths, heads), size)
  photos = np.rint(255 * (images + 0.5 * (1 - alpha))).astype(np.uint8)
  pictures = dataclasses.replace(
    truths,
    photos=photos,
    visible=np.ones((2, size, size), bool),
    pose=np.zeros((2, 6), np.float32),
  )
  # In the photos the heads are turned otherwise; canonical renders do not see it.
  turned = dataclasses.replace(
    heads, pose=truths.pose + np.float32([0, 0.3, 0, 0, 0, 0])
  )
  names = ("identity cosine, canonical", *evaluation.RETRIEVALS)
  found = evaluation.measured(Cases(pictures, turned), names)
  np.testing.assert_allclose(found["identity cosine, canonical"][""], 1, atol=1e-4)
  assert (found["identity top-1"][""] == 1).all()
  pair = evaluation.identity_pair(Cases(pictures, turned), canonical=True)
  swapped = np.stack([pair[0, ::-1], pair[1]])
  assert (evaluation.retrievals(swapped, 1)[""] == 0).all()
  assert (evaluation.retrievals(swapped, 2)[""] == 1).all()
  lost = np.concatenate([pair, np.full_like(pair[:, :1], np.nan)], 1)
  assert np.isnan(evaluation.retrievals(lost, 1)[""]).tolist() == [False, False, True]


def test_a_similarity_counts_only_in_raw_numbers(truths):
  turn = Rotation.from_rotvec([0.05, 0.1, -0.03]).as_matrix()
  moved = (1.1 * truths.vertices @ turn.T + [0.02, 0.01, 0.05]).astype(np.float32)
  names = ("position, raw", "position, rigid", "position, similarity")
  names += ("scan (NoW-like)", "normals, visible face", "SIDE, similarity")
  found = evaluation.measured(Cases(truths, _heads(truths, vertices=moved)), names)
  assert (found["position, raw"][""] > 0.02).all()
  assert (found["position, rigid"][""] > 0.01).all()
  assert (found["position, similarity"][""] < 1e-4).all()
  assert (found["scan (NoW-like)"][""] < 0.02).all()
  assert (found["normals, visible face"][""] < 0.1).all()


@pytest.mark.parametrize(
  ("measure", "alignment"),
  [
    ("position, raw", "none"),
    ("position, rigid", "rigid"),
    ("position, similarity", "similarity"),
  ],
)
def test_positions_are_those_of_their_twin(truths, measure, alignment):
  other = truths.vertices[::-1] * np.float32(1.05)
  cases = Cases(truths, _heads(truths, vertices=np.ascontiguousarray(other)))
  found = evaluation.measured(cases, (measure,))[measure]
  flat = lambda maps: maps[0].reshape(-1, 3).astype(np.float64)
  own, true = flat(cases.head_texels), flat(cases.true_texels)
  face = cases.face.ravel().astype(np.float64)
  for part, weights in (("", face), ("nose", cases.regions["nose"].ravel())):
    wanted = measures.position_error(own, true, alignment, (face, weights))
    np.testing.assert_allclose(found[part][0], wanted, rtol=1e-3)


def test_a_scale_and_a_shift_are_those_of_their_twin():
  rng = np.random.default_rng(0)
  own, true = rng.normal(size=(2, 40, 3)).astype(np.float32)
  weights = rng.uniform(0, 1, 40).astype(np.float32)
  found = evaluation.aligned(own, true, weights, "scale")
  wanted = measures.similarity(own, true, weights, turned=False)
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_each_region_of_a_scan_is_laid_once_more(truths):
  """A nose that is moved as a whole has the right shape, in the wrong place."""
  name = "scan by region (REALY-like)"
  marks = truths.template.landmark_positions(truths.vertices)[:, 27:36]
  apart = truths.vertices[:, :, None] - marks[:, None]
  gap = np.linalg.norm(apart, axis=-1).min(-1)[..., None]
  shift = np.clip((0.4 - gap) / 0.2, 0, 1) * np.array([0, 0, 0.05])
  moved = (truths.vertices + shift).astype(np.float32)
  cases = Cases(truths, _heads(truths, vertices=moved))
  found = evaluation.measured(cases, (name,))[name]
  assert set(found) == {"", "nose", "mouth", "forehead", "cheeks"}
  for k, laid in enumerate(cases.laid):
    labels = _texels.region_of(truths.scans[k], truths.vertices[k], truths.template)
    assert found["nose"][k] < 0.5 * laid.distances[labels == "nose"].mean()
  same = evaluation.measured(Cases(truths, _heads(truths)), (name,))[name]
  assert (same[""] < 0.02).all()


def test_surfaces_of_any_topology_are_compared_by_scans_and_depths(truths):
  template = truths.template
  faces = template.faces[template.face_groups == 0]
  used, faces = np.unique(faces, return_inverse=True)
  points = [3 * vertices[used] + 1 for vertices in truths.vertices]
  marks = template.landmark_positions(truths.vertices)[:, list(evaluation.INNER)]
  meshes = Meshes(points, [faces.reshape(-1, 3).astype(np.int32)] * 2, 3 * marks + 1)
  names = ("position, raw", "scan (NoW-like)", "SIDE, similarity", "SIDE, raw")
  found = evaluation.measured(Cases(truths, meshes), names)
  assert set(found) == {"scan (NoW-like)", "SIDE, similarity"}
  assert (found["scan (NoW-like)"][""] < 0.02).all()
  assert (found["SIDE, similarity"][""] < 0.3).all()


def test_regions_tell_where_the_error_is(truths):
  regions = evaluation.face_regions(truths.template, 64)
  nose = truths.template.landmark_positions(truths.template.vertices)[30]
  near = np.linalg.norm(truths.template.vertices - nose, axis=-1) < 0.15
  moved = truths.vertices.copy()
  moved[:, near, 2] += 0.1
  found = evaluation.measured(
    Cases(truths, _heads(truths, vertices=moved)), ("distance, similarity",)
  )["distance, similarity"]
  assert set(found) == {"", *regions}
  assert (found["nose"] > 4 * found["forehead"]).all()


def test_a_pose_counts_where_poses_do(truths):
  pose = truths.pose.copy()
  pose[:, 5] -= 0.1
  names = ("translation across", "translation along", "position, raw")
  names += ("SIDE, raw", "SIDE, scale and shift", "SIDE, similarity")
  found = evaluation.measured(Cases(truths, _heads(truths, pose=pose)), names)
  np.testing.assert_allclose(found["translation along"][""], 10, rtol=1e-3)
  np.testing.assert_allclose(found["translation across"][""], 0, atol=1e-3)
  assert (found["position, raw"][""] < 1e-6).all()
  assert (found["SIDE, similarity"][""] < found["SIDE, raw"][""] + 1e-3).all()
  assert (found["SIDE, scale and shift"][""] < 0.02).all()


def test_measures_need_their_fields(truths):
  bare = dataclasses.replace(truths, diffuse=None, scans=None)
  found = evaluation.measured(Cases(bare, Heads(truths.vertices)))
  assert "position, raw" in found
  assert not {"scan (NoW-like)", "rotation", "diffuse L1, visible", "render L1"} & set(
    found
  )
  with pytest.raises(ValueError, match="measure must be one of position, raw"):
    evaluation.measured(Cases(bare, Heads(truths.vertices)), ("beauty",))


def test_heads_of_another_topology_are_refused(truths):
  with pytest.raises(ValueError, match="vertices of the heads must have shape"):
    Cases(truths, Heads(truths.vertices[:, 1:]))


def test_a_covered_face_has_no_visible_normals(truths):
  dark = dataclasses.replace(truths, visible=np.zeros_like(truths.visible))
  names = ("normals, visible face",)
  found = evaluation.measured(Cases(dark, _heads(truths)), names)
  assert np.isnan(found["normals, visible face"][""]).all()
  np.testing.assert_allclose(evaluation.properties(dark)["occlusion"], 1)


def test_properties_and_their_strata(truths):
  found = evaluation.properties(truths)
  np.testing.assert_allclose(found["yaw"], [0, 40], atol=1e-3)
  np.testing.assert_allclose(found["occlusion"], 0, atol=1e-6)
  assert np.isnan(found["expression"]).all()
  assert evaluation.stratum("yaw", 40.0) == "30° and more"
  assert evaluation.stratum("yaw", float("nan")) is None


def test_exposed_texels_are_those_that_a_photo_shows(truths):
  exposed = Cases(truths, _heads(truths)).exposed
  left, right = exposed[..., :64].mean((1, 2)), exposed[..., 64:].mean((1, 2))
  assert abs(left[0] - right[0]) < 0.03
  # The face turns to the right of the image: its own left side is turned away.
  assert left[1] > right[1] + 0.05


def test_summaries_pair_photos():
  values = np.array([1.0, 2.0, np.nan, 4.0], np.float32)
  base = np.array([2.0, 4.0, 1.0, 8.0], np.float32)
  found = evaluation.summary(values, base)
  assert found.n == 3
  np.testing.assert_allclose(found.mean, 7 / 3)
  np.testing.assert_allclose(found.ratio, 0.5)
  np.testing.assert_allclose(found.ratio_interval, 0.5)
  assert found.interval[0] < found.mean < found.interval[1]
  assert evaluation.summary(values[2:3], base[:1]).n == 0
  # In some resamples the mean head never succeeds: that ratio has no interval.
  rare = np.array([0, 1, 0, 0], np.float32)
  found = evaluation.summary(np.ones(4, np.float32), rare)
  assert found.ratio == pytest.approx(4)
  assert np.isnan(found.ratio_interval).all()


def test_another_face_has_another_identity(truths):
  """The photo shows the first head as it is rendered: over gray, in the same light."""
  diffuse = np.random.default_rng(1).random((2, 8, 8, 3)).astype(np.float32)
  diffuse = diffuse.repeat(8, 1).repeat(8, 2)
  diffuse[1] = diffuse[0]
  drawn = _heads(truths, diffuse=diffuse)
  images, alpha = evaluation.rendered(Cases(truths, drawn), 128)
  photos = np.rint(255 * (images + 0.5 * (1 - alpha))).astype(np.uint8)
  visible = np.ones(photos.shape[:3], bool)
  shown = dataclasses.replace(truths, photos=photos, visible=visible, diffuse=diffuse)
  names = ("identity cosine", "render perceptual", "diffuse perceptual, visible")
  same = evaluation.measured(Cases(shown, drawn), names)
  assert (same["identity cosine"][""] > 0.97).all()
  assert (same["diffuse perceptual, visible"][""] == 0).all()
  lost = truths.pose.copy()
  lost[1] = np.nan
  unplaced = evaluation.measured(
    Cases(shown, dataclasses.replace(drawn, pose=lost)), names[:1]
  )
  np.testing.assert_array_equal(np.isnan(unplaced["identity cosine"][""]), [0, 1])
  plain = dataclasses.replace(drawn, diffuse=np.full_like(diffuse, 0.5))
  other = evaluation.measured(Cases(shown, plain), names)
  # The same face is not quite the same: the photo is rounded to 8 bits, and smaller.
  loss = lambda found: 1 - found["identity cosine"][""]
  assert (loss(other) > 10 * loss(same)).all()
  assert (other["render perceptual"][""] > 10 * same["render perceptual"][""]).all()
  assert (other["diffuse perceptual, visible"][""] > 0.3).all()
