"""Faces that are followed through frames, and the motion of heads."""

import importlib.resources
import math

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

import affjax
from affjax.faces import (
  Crop,
  Follower,
  HeadMotion,
  MotionFilter,
  Person,
  _follow,
  face_crops,
  find_faces,
  fit_surface,
  warp,
)
from affjax.faces import apply_crop as cut
from affjax.heads import open_head
from affjax.types import Camera

SIZE = 224


@pytest.fixture(scope="module")
def portrait():
  path = importlib.resources.files(affjax) / "assets" / "astronaut.jpg"
  with path.open("rb") as file:
    return np.asarray(Image.open(file).convert("RGB"))


def seen(portrait, x: float = 0.0, *, width: int = SIZE, roll: float = 0.0):
  """The portrait moved by some px."""
  matrix = warp.similarity(np.array([225.0, 130]), 260.0, roll, SIZE)
  matrix[0, 2] += x
  frame = np.rint(255 * warp.warp(portrait, matrix, max(SIZE, width)))
  return frame[:SIZE].astype(np.uint8)


def test_a_face_keeps_its_number_and_is_found_where_it_moves(portrait, monkeypatch):
  looks = []
  find = _follow._find.find_in_all
  monkeypatch.setattr(
    _follow._find, "find_in_all", lambda *a, **k: looks.append(1) or find(*a, **k)
  )
  follower = Follower()
  moves = [0, 3, 8, 14, 22, 30, 36, 40]
  frames = [seen(portrait, x) for x in moves]
  found = follower.follow(frames[:4], [0, 0.04, 0.08, 0.12])
  found += follower.follow(frames[4:], [0.16, 0.2, 0.24, 0.28])
  assert [[one.identity for one in some] for some in found] == [[0]] * 8
  assert len(looks) == 1, "the detector looks once"
  eyes = [some[0].face.landmarks68[36:48].mean(0) for some in found]
  np.testing.assert_allclose(np.subtract(eyes, eyes[0])[:, 0], moves, atol=1.0)
  assert min(some[0].face.score for some in found) > 0.9
  assert follower.identities == {0}


def test_a_cut_ends_the_track(portrait):
  follower = Follower()
  frame, other = seen(portrait), seen(portrait)[:, ::-1].copy()
  gray = 255 - np.roll(other, 90, 0)
  found = follower.follow([frame, frame, gray, other], [0, 0.1, 0.2, 0.3])
  numbers = [[one.identity for one in some] for some in found]
  assert numbers[:3] == [[0], [0], []]
  assert numbers[3] in ([1], [])
  assert 0 not in follower.identities


def test_a_lost_face_is_found_again_or_forgotten(portrait):
  frame, covered = seen(portrait), seen(portrait)
  covered[40:190, 50:180] = np.random.default_rng(0).integers(0, 255, (150, 130, 3))
  follower = Follower(retry=0.1, patience=0.3)
  found = follower.follow([frame, covered, frame], [0, 0.15, 0.3])
  assert [len(some) for some in found] == [1, 0, 1]
  assert found[2][0].identity == 0
  for time in (0.45, 0.6, 0.75, 0.9):
    follower.follow([covered], [time])
  assert follower.identities == set()
  (again,) = follower.follow([frame], [1.1])
  assert again[0].identity == 1


def test_two_people_are_two_tracks(portrait):
  one = seen(portrait)
  frame = np.concatenate([one, one[:, ::-1]], 1)
  found = Follower().follow([frame, frame], [0, 0.1])
  assert [sorted(face.identity for face in some) for some in found] == [[0, 1]] * 2
  a, b = found[1]
  assert abs(a.face.box[0] - b.face.box[0]) > 100


def test_a_pose_before_a_crop_becomes_a_motion_and_back():
  camera, turn = Camera(), np.array([0.1, -0.3, 0.2])
  matrix = warp.similarity(np.array([300.0, 200]), 240.0, 0.5, 192)
  pose = np.concatenate([turn, np.zeros(3)])
  motion = HeadMotion.from_crop(pose, np.zeros(3), Crop(matrix, 192), camera)
  np.testing.assert_allclose(motion.place, [300, 200], atol=1e-6)
  crop, back = motion.crop(256, camera)
  np.testing.assert_allclose(warp.transform(crop.matrix, motion.place), 127.5)
  # The crop is turned clockwise, so the head in the frame leans clockwise as well.
  expected = Rotation.from_euler("z", -0.5) * Rotation.from_rotvec(turn)
  np.testing.assert_allclose(back[:3], expected.as_rotvec(), atol=1e-6)
  assert motion.size * 240 / 192 == pytest.approx(
    HeadMotion.from_crop(
      pose, np.zeros(3), Crop(np.eye(2, 3), 192), camera
    ).size * 240 / 192 * 240 / 192
  )  # fmt: skip


def test_translation_is_that_of_a_pinhole():
  camera = Camera()
  motion = HeadMotion(np.array([0, 0, 0, 1.0]), np.array([149.5, 79.5]), 50.0, [])
  moved = motion.translation((200, 200), 40.0, camera)
  np.testing.assert_allclose(moved, [1.0, 0.4, 2.0])


def test_smoothing_calms_and_does_not_mind_the_sign_of_a_rotation():
  rng = np.random.default_rng(3)
  filtering, found = MotionFilter(), []
  for k in range(60):
    turn = Rotation.from_rotvec([0, 0, math.pi] + 0.01 * rng.standard_normal(3))
    motion = HeadMotion(
      turn.as_quat() * (-1) ** k,
      np.array([100, 50]) + 0.2 * rng.standard_normal(2),
      40 * math.exp(0.0005 * rng.standard_normal()),
      0.5 + 0.004 * rng.standard_normal(4),
    )
    found.append((motion, filtering.step(motion, k / 30)))
  before, after = zip(*found[20:], strict=True)
  for name in ("place", "size", "weights"):
    calm = np.std([getattr(m, name) for m in after], 0)
    assert np.all(calm < 0.6 * np.std([getattr(m, name) for m in before], 0))
  turns = Rotation.from_quat([m.rotation for m in after])
  away = (turns * Rotation.from_rotvec([0, 0, math.pi]).inv()).magnitude()
  assert away.max() < 0.02


def test_a_known_person_is_fitted_as_a_photo_of_the_person_is(portrait):
  model, camera = open_head("embedded"), Camera()
  frame = seen(portrait)
  faces = find_faces(frame)
  crops = face_crops(faces, model.template, camera, 192)
  images = np.stack([np.rint(255 * cut(frame, crop)) for crop in crops])
  images = images.astype(np.uint8)
  (photo,) = fit_surface(model, faces, crops, images, camera)
  person = Person.of(model, photo.identity)
  fits = person.fit([faces[0].landmarks68], crops, images, camera)
  away = (
    Rotation.from_rotvec(fits.pose[0, :3]) * Rotation.from_rotvec(photo.pose[:3]).inv()
  )
  assert np.degrees(away.magnitude()) < 2
  smile = model.expression_names.index("mouthSmileLeft")
  assert fits.weights.min() >= 0
  assert fits.weights[0, smile] > 0.1
  assert fits.inner_error[0] < photo.inner_error + 0.5
  np.testing.assert_allclose(
    person.vertices(photo.expression[None])[0], photo.vertices, atol=1e-4
  )


def test_what_stays_in_all_frames_is_shape():
  model = open_head("embedded")
  person = Person.of(model, np.zeros(len(model.identity_basis), np.float32))
  frames = np.zeros((4, len(model.expression_basis)), np.float32)
  smile, jaw, brow = map(
    model.expression_names.index, ("mouthSmileLeft", "jawOpen", "browInnerUp")
  )
  frames[:, smile] = 0.1
  frames[:, jaw] = (0, 0, 0, 0.8)
  frames[:, brow] = 0.9
  rested = person.rested(frames)
  assert rested.rest[[smile, jaw]].tolist() == pytest.approx([0.1, 0])
  assert 0 < rested.rest[brow] < 0.9, "a face may be made throughout a clip"
  assert np.count_nonzero(rested.rest) == 2
  # The heads of the frames are the same.
  np.testing.assert_allclose(
    rested.vertices(frames - rested.rest), person.vertices(frames), atol=1e-5
  )
  assert person.rested(frames[:2]) is person
