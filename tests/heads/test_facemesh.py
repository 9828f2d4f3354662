"""FaceMesh's points on a template: the asset, and files for other templates."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import face_crops, find_faces, fit_faces, standard68, warp
from affjax.geometry import camera as cameras
from affjax.heads import facemesh, open_head
from affjax.types import Camera

HEAD = open_head("embedded").template
POINTS = facemesh.points(HEAD)
# FaceMesh's points on the middle of the face, from the top of the forehead down.
MIDLINE = [10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 2, 164, 0, 17, 18, 200, 199, 152]
# Pairs, image left first: eye corners, wings of the nose, corners of the mouth.
PAIRS = [(33, 263), (133, 362), (98, 327), (61, 291), (234, 454)]


def _places():
  return np.asarray(facemesh.positions(jnp.asarray(HEAD.vertices), HEAD, POINTS))


def test_the_points_lie_in_triangles_of_the_skin():
  assert POINTS.faces.shape == (468,)
  assert set(HEAD.face_groups[POINTS.faces]) == {HEAD.group_names.index("skin")}
  assert POINTS.weights.min() >= 0
  np.testing.assert_allclose(POINTS.weights.sum(1), 1, atol=1e-5)


def test_the_points_are_symmetric():
  places = _places()
  assert np.abs(places[MIDLINE, 0]).max() < 0.01
  for left, right in PAIRS:
    assert places[left, 0] < 0
    np.testing.assert_allclose(places[left], places[right] * [-1, 1, 1], atol=0.01)


def test_the_points_are_where_their_names_say():
  places = _places()
  marks = np.asarray(HEAD.landmark_positions(jnp.asarray(HEAD.vertices)))
  assert (np.diff(places[MIDLINE, 1]) < 0.01).all()  # the nose's tip looks up a little
  for point, mark in ((33, 36), (133, 39), (362, 42), (263, 45), (61, 48), (291, 54)):
    assert np.linalg.norm(places[point] - marks[mark]) < 0.06
  # The same mixture that makes the 68 of a photo makes the template's own 68.
  near = np.linalg.norm(standard68(places) - marks[:, :2], axis=1)[17:]
  assert np.median(near) < 0.015
  assert near.max() < 0.06


def test_what_slides_is_marked_and_less_sure():
  assert POINTS.contour.sum() == 36
  assert POINTS.contour[[10, 152, 234, 454]].all()
  inner, outline = POINTS.sigma[~POINTS.contour], POINTS.sigma[POINTS.contour]
  assert 0.005 < np.median(inner) < 0.05 < np.median(outline) < 0.2


def test_the_points_of_a_photo_lie_where_a_fitted_head_has_them():
  """After a fit to the 68 landmarks only, the 468 points lie near those of a photo."""
  portrait = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  (face,) = find_faces(np.asarray(portrait))
  (cut,) = face_crops([face], HEAD, Camera(), 256)
  (head,) = fit_faces(open_head("embedded"), [face], [cut], Camera())
  at = facemesh.positions(jnp.asarray(head.vertices), HEAD, POINTS)
  world = cameras.head_to_world(at, jnp.asarray(head.pose))
  px = np.asarray(cameras.world_to_px(world, Camera(), 256, 256))
  seen = warp.transform(cut.matrix, face.landmarks[:, :2])
  off = np.linalg.norm(px - seen, axis=1) / np.linalg.norm(seen[33] - seen[263])
  print(f"median {np.median(off[~POINTS.contour]):.4f}")
  assert np.median(off[~POINTS.contour]) < 0.025
  assert np.quantile(off[~POINTS.contour], 0.95) < 0.08


def test_positions_of_batches_under_jit():
  vertices = jnp.stack([jnp.asarray(HEAD.vertices), 2 * jnp.asarray(HEAD.vertices)])
  found = jax.jit(lambda v: facemesh.positions(v, HEAD, POINTS))(vertices)
  np.testing.assert_allclose(found[0], _places(), atol=1e-6)
  np.testing.assert_allclose(found[1], 2 * _places(), atol=1e-6)


def _arrays(**changes):
  return {**store.open_asset("facemesh.npz"), **changes}


def _saved(path, **changes):
  np.savez(path, **_arrays(**changes))
  return path


def test_a_file_of_another_template(tmp_path):
  path = _saved(tmp_path / "points.npz")
  other = dataclasses.replace(HEAD, name="other")
  found = facemesh.load(path, other)
  np.testing.assert_array_equal(found.faces, POINTS.faces)
  np.testing.assert_array_equal(found.sigma, POINTS.sigma)


def test_another_template_is_told_which_script_to_run():
  other = dataclasses.replace(
    HEAD, name="other", faces=HEAD.faces[:-1], faces_uv=HEAD.faces_uv[:-1],
    face_groups=HEAD.face_groups[:-1],
  )  # fmt: skip
  with pytest.raises(ValueError, match=r"'other'.*facemesh_correspondence\.py"):
    facemesh.points(other)
  with pytest.raises(ValueError, match="is for a template of"):
    facemesh._checked(_arrays(), other, "points.npz")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"faces": np.full(468, len(HEAD.faces), np.int32)}, "faces must lie in"),
    ({"faces": np.zeros(468)}, "faces must be whole numbers"),
    ({"weights": np.ones((468, 3), np.float32)}, "weights"),
    ({"weights": np.full((468, 3), np.nan, np.float32)}, "weights"),
    ({"sigma": np.full(468, -1, np.float32)}, "sigma"),
    ({"sigma": np.zeros(5, np.float32)}, r"sigma must have shape \(468,\)"),
    ({"contour": np.array(["x"] * 468)}, "contour"),
  ],
)
def test_damaged_files_are_refused(changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    facemesh.load(_saved(tmp_path / "bad.npz", **changes), HEAD)


def test_files_that_are_no_npz_are_refused(tmp_path):
  path = tmp_path / "bad.npz"
  path.write_bytes(b"not a zip")
  with pytest.raises(ValueError, match=r"bad\.npz"):
    facemesh.load(path, HEAD)
  np.savez(path, faces=np.array([object()], dtype=object), allow_pickle=True)
  with pytest.raises(ValueError, match=r"bad\.npz"):
    facemesh.load(path, HEAD)
  np.savez(path, faces=POINTS.faces)
  with pytest.raises(ValueError, match="weights must have shape"):
    facemesh.load(path, HEAD)
