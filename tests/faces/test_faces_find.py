"""Detection, landmarks, crops and poses, on the embedded portrait and beyond."""

import dataclasses
import io
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import (
  _mesh,
  _network,
  apply_crop,
  face_crop,
  find_faces,
  initial_pose,
  read_photo,
  solve_pose,
  warp,
)
from affjax.geometry import camera as cameras
from affjax.geometry import rotation
from affjax.heads import landmarks, open_head
from affjax.types import Camera

TEMPLATE, CAMERA = open_head("embedded").template, Camera()
_NEAR = [p / "shared/data/photos" for p in pathlib.Path(__file__).resolve().parents]
PHOTOS = next((p for p in _NEAR if p.is_dir()), _NEAR[0])
# Centers of the eyes and the mouth in the portrait, read off the picture.
LEFT_EYE, RIGHT_EYE, MOUTH = (203, 101), (249, 102), (223, 146)


@pytest.fixture(scope="module")
def portrait():
  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg")))
  return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def face(portrait):
  (found,) = find_faces(portrait)
  return found


def _check_places(points, scale=1.0, shift=(0, 0)):
  for part, place in ((slice(36, 42), LEFT_EYE), (slice(42, 48), RIGHT_EYE)):
    expected = np.array(place) * scale + shift
    assert np.linalg.norm(points[part].mean(0) - expected) < 5 * scale
  mouth = np.array(MOUTH) * scale + shift
  assert np.linalg.norm(points[48:].mean(0) - mouth) < 6 * scale


def test_finds_the_astronaut_where_she_is(face):
  assert face.score > 0.9
  _check_places(face.landmarks68)
  low, high = face.box[:2], face.box[2:]
  assert (low < np.array(LEFT_EYE)).all()
  assert (high > np.array(MOUTH)).all()


def test_finds_several_faces_of_several_sizes(portrait):
  """Three portraits of different sizes in one picture, the largest first."""
  canvas = np.full((700, 900, 3), 120, np.uint8)
  places = ((512, 0, 0), (256, 560, 40), (160, 620, 400))
  for size, x, y in places:
    canvas[y : y + size, x : x + size] = np.asarray(
      Image.fromarray(portrait).resize((size, size), Image.Resampling.LANCZOS)
    )
  found = find_faces(canvas)
  assert len(found) == 3
  for one, (size, x, y) in zip(found, places, strict=True):
    _check_places(one.landmarks68, size / 512, (x, y))


def test_a_turned_photo(portrait):
  """Landmarks turn with a photo that is rotated by 25 degrees."""
  turned = np.asarray(Image.fromarray(portrait).rotate(25, Image.Resampling.BICUBIC))
  (found,) = find_faces(turned)
  c, s = np.cos(np.deg2rad(25)), np.sin(np.deg2rad(25))
  eye = np.array([[c, s], [-s, c]]) @ (np.array(LEFT_EYE) - 255.5) + 255.5
  assert np.linalg.norm(found.landmarks68[36:42].mean(0) - eye) < 6


def _turned(points, quarters, side=512):
  """Returns points of a square photo that was turned counter-clockwise."""
  for _ in range(quarters):
    points = np.stack([points[:, 1], side - 1 - points[:, 0]], -1)
  return points


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_faces_at_every_turn(face, portrait, quarters):
  """A photo without a tag: landmarks lie where they do on the upright one."""
  (found,) = find_faces(np.ascontiguousarray(np.rot90(portrait, quarters)))
  expected = _turned(face.landmarks68, quarters)
  assert np.linalg.norm(found.landmarks68 - expected, axis=1).mean() < 2
  assert found.score > 0.9


def test_no_upright_head_on_an_upside_down_face(face, portrait):
  """Beside an upright face it is found right, or it is not found."""
  both = np.concatenate([portrait, portrait[::-1, ::-1]], 1)
  first, *others = sorted(find_faces(both), key=lambda one: one.box[0])
  assert np.linalg.norm(first.landmarks68 - face.landmarks68, axis=1).mean() < 2
  for one in others:
    expected = np.add(_turned(face.landmarks68, 2), [512, 0])
    assert np.linalg.norm(one.landmarks68 - expected, axis=1).mean() < 2


def test_a_face_that_is_painted_over_is_none(face, portrait):
  covered = portrait.copy()
  low, high = face.box[:2].astype(int) - 20, face.box[2:].astype(int) + 20
  covered[low[1] : high[1], low[0] : high[0]] = (90, 120, 160)
  assert find_faces(covered) == []


@pytest.mark.parametrize("side", [0, 1])
def test_half_a_face_is_never_a_sure_wrong_one(face, portrait, side):
  """It has its eyes above its mouth, or it is not sure, or it is not found."""
  covered = portrait.copy()
  low, high = face.box[:2].astype(int) - 20, face.box[2:].astype(int) + 20
  middle = int(face.landmarks68[27, 0])
  columns = slice(low[0], middle) if side else slice(middle, high[0])
  covered[low[1] : high[1], columns] = (90, 120, 160)
  for found in find_faces(covered):
    across = found.landmarks68[45] - found.landmarks68[36]
    assert found.score < 0.8 or abs(across[1]) < 0.3 * across[0]


def test_the_score_is_made_of_evidence(face):
  known = face.evidence
  assert face.score == known.probability
  assert known.detection > 0.7
  assert known.disagreement < 0.06
  assert known.drift < 0.02
  worse = [
    dataclasses.replace(known, **change)
    for change in (
      {"detection": 0.5},
      {"landmarks": 0.5},
      {"disagreement": 0.2},
      {"drift": 0.1},
    )
  ]
  assert all(one.probability < known.probability for one in worse)


def test_no_face_is_an_empty_list():
  noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
  assert find_faces(noise) == []


@pytest.mark.parametrize(
  "bad",
  [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_errors_name_the_argument(bad):
  with pytest.raises(ValueError, match="photo"):
    find_faces(bad)


def test_unknown_operators_are_refused():
  graph = (
    b'{"x":{"size":8,"nodes":[{"op":"exec","inputs":[],"weights":[]}],"outputs":{}}}'
  )
  with pytest.raises(ValueError, match="exec"):
    _network.networks({"graph": np.frombuffer(graph, np.uint8)})


def test_the_crop_frames_the_head_as_in_training(face, portrait):
  placed = face_crop(face, TEMPLATE, CAMERA, 128)
  pose = initial_pose(face, TEMPLATE, CAMERA, placed)
  # No roll, no translation: that is what the crop is for.
  assert np.abs(pose[3:]).max() < 0.05
  turn = np.asarray(rotation.axis_angle_to_matrix(jnp.asarray(pose[:3], float)))
  assert abs(np.arctan2(turn[1, 0], turn[0, 0])) < np.deg2rad(1)
  pixels = apply_crop(portrait, placed)
  assert pixels.shape == (128, 128, 3)
  assert pixels.dtype == np.float32
  assert 0 <= pixels.min() <= pixels.max() <= 1
  eye = placed.matrix @ [*LEFT_EYE, 1]
  x, y = np.round(eye).astype(int)
  expected = portrait[
    LEFT_EYE[1] - 3 : LEFT_EYE[1] + 4, LEFT_EYE[0] - 3 : LEFT_EYE[0] + 4
  ]
  found = pixels[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
  np.testing.assert_allclose(found, expected.mean((0, 1)) / 255, atol=0.12)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_crop_of_a_turned_photo_shows_the_face_upright(face, portrait, quarters):
  upright = apply_crop(portrait, face_crop(face, TEMPLATE, CAMERA, 64))
  turned = np.ascontiguousarray(np.rot90(portrait, quarters))
  (found,) = find_faces(turned)
  pixels = apply_crop(turned, face_crop(found, TEMPLATE, CAMERA, 64))
  assert np.abs(pixels - upright).mean() < 0.02


@pytest.mark.parametrize("yaw", [-55, -20, 0, 35, 55])
@pytest.mark.parametrize("roll", [-9, 90, 178])
@pytest.mark.parametrize("shift", [(0, 0, 0), (0.2, -0.15, 0.5)])
def test_poses_are_recovered_from_projected_landmarks(yaw, roll, shift):
  points = np.asarray(
    TEMPLATE.landmark_positions(jnp.asarray(TEMPLATE.vertices)), float
  )
  turn = rotation.euler_deg_to_axis_angle(*map(jnp.float32, (yaw, 12, roll)))
  pose = jnp.concatenate([turn, jnp.asarray(shift, jnp.float32)])
  world = cameras.head_to_world(jnp.asarray(points, jnp.float32), pose)
  px = np.array(cameras.world_to_px(world, CAMERA, 128, 128), float)
  px[40] += 30  # one landmark is plainly wrong
  found = solve_pose(points, px, CAMERA, 128)
  np.testing.assert_allclose(found[:3], pose[:3], atol=0.02)
  np.testing.assert_allclose(found[3:5], pose[3:5], atol=0.02)
  np.testing.assert_allclose(found[5], pose[5], atol=0.1)


def test_poses_refuse_what_cannot_be_solved():
  with pytest.raises(ValueError, match="points"):
    solve_pose(np.zeros((3, 3)), np.zeros((3, 2)), CAMERA, 64)
  with pytest.raises(ValueError, match="finite"):
    solve_pose(np.full((5, 3), np.nan), np.zeros((5, 2)), CAMERA, 64)


def test_warping_is_antialiased_and_repeats_the_edge():
  stripes = np.zeros((400, 400, 3), np.uint8)
  stripes[:, ::2] = 255
  small = warp.warp(stripes, warp.similarity(np.array([200.0, 200]), 400, 0.0, 32), 32)
  np.testing.assert_allclose(small[2:-2, 2:-2], 0.5, atol=0.02)
  red = np.zeros((50, 50, 3), np.uint8)
  red[..., 0] = 255
  outside = warp.warp(red, warp.similarity(np.array([-40.0, 25]), 60, 0.3, 16), 16)
  np.testing.assert_allclose(outside, np.broadcast_to([1.0, 0, 0], (16, 16, 3)))


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos of shared/ are not here")
def test_every_portrait_has_its_face():
  paths = sorted(p for p in PHOTOS.rglob("*.jpg") if "demo" not in p.parent.name)
  missed = [p.name for p in paths if not find_faces(read_photo(p))]
  assert len(paths) > 50
  assert len(missed) <= 1, missed


# Faces of each photo that are turned no further than the landmark network can see.
_GROUPS = {
  "3DDFA_V2/emma_1024.jpg": 3,
  "3DDFA_V2/trump_hillary.jpg": 2,
  "vladmandic_face-api_demo/sample1.jpg": 3,
  "vladmandic_face-api_demo/sample2.jpg": 2,
  "vladmandic_face-api_demo/sample3.jpg": 3,
  "vladmandic_face-api_demo/sample4.jpg": 4,
  "DECA_TestSamples/6.jpg": 1,  # a mouth wide open, which looks like another face
}


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos of shared/ are not here")
@pytest.mark.parametrize(("name", "count"), _GROUPS.items())
def test_groups_are_found_whole(name, count):
  assert len(find_faces(read_photo(PHOTOS / name))) == count


def test_small_faces_of_a_large_photo(portrait):
  """Twelve faces, each a fiftieth of the photo's width."""
  small = Image.fromarray(portrait).resize((220, 220), Image.Resampling.LANCZOS)
  canvas = np.full((1000, 2000, 3), 90, np.uint8)
  for k in range(12):
    x, y = 60 + k % 6 * 320, 100 + k // 6 * 430
    canvas[y : y + 220, x : x + 220] = np.asarray(small)
  found = find_faces(canvas)
  assert len(found) == 12
  assert all(30 < np.ptp(face.landmarks68[:, 0]) < 50 for face in found)


def test_standard_landmarks_treat_left_and_right_alike(face, portrait):
  (flipped,) = find_faces(np.ascontiguousarray(portrait[:, ::-1]))
  back = flipped.landmarks68[landmarks.MIRRORED]
  back = np.stack([portrait.shape[1] - 1 - back[:, 0], back[:, 1]], -1)
  assert np.linalg.norm(back - face.landmarks68, axis=1).mean() < 2


def test_who_looks_ahead_does_not_nod(face):
  """The portrait faces the camera: the landmarks are the template's own."""
  placed = face_crop(face, TEMPLATE, CAMERA, 128)
  turn = np.rad2deg(initial_pose(face, TEMPLATE, CAMERA, placed)[:3])
  assert np.abs(turn).max() < 7


@pytest.mark.parametrize(
  ("moved", "still"),
  [
    ((17, 14, 84, 314, 16, 15, 87, 317, 181, 405), (49, 50, 51, 52, 53, 61, 62, 63)),
    ((0, 13, 37, 267, 12, 11, 82, 312, 39, 269), (55, 56, 57, 58, 59, 65, 66, 67)),
    ((145, 144, 153, 163, 374, 373, 380, 390), (37, 38, 43, 44)),
    ((159, 160, 158, 161, 386, 387, 385, 388), (40, 41, 46, 47)),
  ],
)
def test_a_lip_and_a_lid_move_alone(moved, still):
  """Once upper lips were a tenth lower lips, and sank onto the teeth of a smile."""
  points = np.random.default_rng(0).normal(size=(468, 3))
  before = _mesh.standard68(points)
  points[list(moved)] += 1.0
  after = _mesh.standard68(points)
  np.testing.assert_array_equal(after[list(still)], before[list(still)])
  assert np.any(after != before)


def test_the_standard_landmarks_are_those_of_the_experiment():
  name = "experiments/results/landmark_correspondence.json"
  path = pathlib.Path(__file__).resolve().parents[2] / name
  if not path.is_file():
    pytest.skip(f"{name} is not here")
  table = json.loads(path.read_text())["table"]
  ours = np.stack([_mesh._FIRST68, _mesh._SECOND68], 1)
  np.testing.assert_array_equal(ours, table["points"])
  np.testing.assert_array_equal(_mesh._SHARE68, table["share"])
