"""Finds the FaceMesh points of the 68 standard landmarks, for `affjax/faces/_mesh.py`.

  python -m experiments.assets.landmark_correspondence

Each of the 68 is one point of FaceMesh, or lies between two near ones. Landmarks of the
lids have none across the opening, with which they would move as it opens; they may lie
beyond the first point instead. Those of the lips lie on FaceMesh's borders of the lips,
which are right on photos of people and less so on painted mouths. The points are those
nearest to the template's own landmarks on synthetic photos whose geometry is known: the
usual list of single points gives poses that nod by 12 degrees. Errors are those of one
half of the photos with the points chosen on the other half; the table comes from all of
them. Takes about 4 minutes on 2 cores and writes the errors and the table to
`results/landmark_correspondence.json`, from which the table is copied by hand (a test
compares them).
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from affjax import files
from affjax.data import SyntheticFaces
from affjax.faces import find_in_all, solve_pose
from affjax.geometry import camera as cameras
from affjax.heads import MorphableModel, landmarks, open_head
from affjax.types import Camera

SIZE, TOGETHER = 256, 16
# Largest yaw, radians.
YAW = 0.7
# Number of candidates for each landmark, and the largest distance of two that share
# it, in interocular distances; less at the eyes, where lids close.
CANDIDATES = 40
APART, APART_EYES = 0.16, 0.09
# The usual list of single points.
# fmt: off
BY_NAME = (
  162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71,
  63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33,
  160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291,
  405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)
# fmt: on
# Least gain by a second point, in interocular distances, and its largest share.
WORTH, SHARE = 0.001, 0.5
# FaceMesh's points of the right eye's lids, without its corners, and of the right half
# of the borders of the lips. Mirrored points are found.
# fmt: off
UPPER_LID = (246, 161, 160, 159, 158, 157, 173, 247, 30, 29, 27, 28, 56, 190)
LOWER_LID = (7, 163, 144, 145, 153, 154, 155, 25, 110, 24, 23, 22, 26, 112)
# fmt: on
# Landmarks, each with the points that it must not be made of: those across the opening,
# and for the corners both.
ACROSS = (
  ((37, 38, 43, 44), LOWER_LID),
  ((40, 41, 46, 47), UPPER_LID),
  ((36, 39, 42, 45), (*UPPER_LID, *LOWER_LID)),
)
# Landmarks, each with the only points that it may be made of.
ALONG = (
  ((48, 54), (61,)),
  ((49, 50, 51, 52, 53), (61, 185, 40, 39, 37, 0)),
  ((55, 56, 57, 58, 59), (61, 146, 91, 181, 84, 17)),
  ((60, 64), (78,)),
  ((61, 62, 63), (78, 191, 80, 81, 82, 13)),
  ((65, 66, 67), (78, 95, 88, 178, 87, 14)),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """The geometry of a synthetic photo of a face, and FaceMesh's points.

  Attributes:
    mesh: FaceMesh's points, px.
    truth: The template's landmarks, px.
    points: The template's landmarks in head space, dm.
    vertices: Vertices of the head, dm.
    pose: Pose of the head.
  """

  mesh: np.ndarray
  truth: np.ndarray
  points: np.ndarray
  vertices: np.ndarray
  pose: np.ndarray

  @property
  def unit(self) -> float:
    """Interocular distance, px."""
    return float(np.linalg.norm(self.truth[45] - self.truth[36]))


def samples(model: MorphableModel, count: int) -> list[Sample]:
  """Returns the samples among `count` photos whose face is found and not in profile."""
  source = SyntheticFaces(model, count, SIZE, seed=5, split="train", occluders=0.0)
  kept = []
  for first in range(0, count, TOGETHER):
    records = [source[k] for k in range(first, min(first + TOGETHER, count))]
    found = find_in_all([r["image"] for r in records], smallest=1 / 8)
    for record, faces in zip(records, found, strict=True):
      if len(faces) == 1 and abs(record["pose"][1]) < YAW:
        sample = _sample(model, record, faces[0].landmarks[:, :2])
        # Points that miss the eyes by far belong to no face.
        if np.linalg.norm(sample.mesh[33] - sample.truth[36]) < 0.25 * sample.unit:
          kept.append(sample)
  return kept


def _sample(model: MorphableModel, record: dict, seen: np.ndarray) -> Sample:
  vertices, pose = jnp.asarray(record["vertices"]), jnp.asarray(record["pose"])
  points = model.template.landmark_positions(vertices)
  world = cameras.head_to_world(points, pose)
  truth = np.asarray(cameras.world_to_px(world, Camera(), SIZE, SIZE), float)
  given = record["vertices"], record["pose"]
  return Sample(seen, truth, np.asarray(points, float), *given)


def mirrored(faces: list[Sample]) -> np.ndarray:
  """Returns the FaceMesh point that takes each one's place in a mirrored picture."""
  turned = []
  for face in faces:
    left, right = face.mesh[33], face.mesh[263]
    x = (right - left) / np.linalg.norm(right - left)
    axes = np.stack([x, [-x[1], x[0]]])
    turned.append((face.mesh - (left + right) / 2) @ axes.T / face.unit)
  mean = np.median(turned, 0)
  distance = np.linalg.norm(mean[:, None] * [-1, 1] - mean[None], axis=-1)
  return optimize.linear_sum_assignment(distance + distance.T)[1]


def pairs(faces: list[Sample], mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns two points `[68, 2]` for each landmark and the second's share `[68]`."""
  points, share = np.zeros((68, 2), int), np.zeros(68)
  seen = np.stack([face.mesh / face.unit for face in faces])
  truth = np.stack([face.truth / face.unit for face in faces])
  for k, other in enumerate(landmarks.MIRRORED):
    if other < k:
      points[k], share[k] = mirror[points[other]], share[other]
      continue
    x = np.concatenate([seen, seen[:, mirror]])
    y = np.concatenate([truth[:, k], truth[:, other]])
    allowed = _allowed(k, mirror)
    apart = APART_EYES if k in landmarks.EYES else APART
    least = -SHARE if any(k in those for those, _ in ACROSS) else 0.0
    points[k], share[k] = _best_pair(x[:, allowed], y, apart, least)
    points[k] = allowed[points[k]]
  return points, share


def _allowed(landmark: int, mirror: np.ndarray) -> np.ndarray:
  """Returns the points that a landmark may be made of."""
  some = np.ones(468, bool)
  for those, points in ALONG:
    if landmark in those:
      some[:] = False
      some[[*points, *mirror[list(points)]]] = True
  for those, points in ACROSS:
    if landmark in those:
      some[[*points, *mirror[list(points)]]] = False
  if landmarks.MIRRORED[landmark] == landmark:
    some &= mirror == np.arange(468)
  return np.flatnonzero(some)


def _best_pair(
  x: np.ndarray, y: np.ndarray, apart: float, least: float
) -> tuple[tuple[int, int], float]:
  """Returns two of points `x [N, K, 2]` on whose line `y [N, 2]` lies best."""
  error = np.median(np.linalg.norm(x - y[:, None], axis=-1), 0)
  best, found = np.inf, ((0, 0), 0.0)
  near = np.argsort(error)[:CANDIDATES]
  for a in near:
    for b in near:
      step, rest = x[:, b] - x[:, a], y - x[:, a]
      if np.median(np.linalg.norm(step, axis=-1)) > apart:
        continue
      share = np.sum(step * rest) / max(np.sum(step * step), 1e-9)
      share = 0.0 if a == b else round(float(np.clip(share, least, SHARE)), 2)
      cost = np.linalg.norm(rest - share * step, axis=-1).mean() + WORTH * (share != 0)
      if cost < best:
        best, found = cost, ((a, b if share else a), share)
  return found


def errors(
  name: str, faces: list[Sample], points: np.ndarray, share: np.ndarray
) -> dict[str, list[float]]:
  """Returns the errors of landmarks, and of the poses solved from them."""
  distances, turns = [], []
  for face in faces:
    first, second = np.moveaxis(face.mesh[points], 1, 0)
    px = first + share[:, None] * (second - first)
    distances.append(np.linalg.norm(px - face.truth, axis=1) / face.unit)
    pose = solve_pose(face.points, px, Camera(), SIZE)
    turns.append(np.rad2deg(pose[:3] - face.pose[:3]))
  error, turn = 100 * np.mean(distances, 0), np.median(turns, 0)
  print(
    f"{name:8} jaw {error[:17].mean():5.1f} % IOD, others {error[17:].mean():4.1f} %; "
    f"median turn about x {turn[0]:5.1f}°, y {turn[1]:5.1f}°, z {turn[2]:5.1f}°"
  )
  return {
    "jaw_and_others_percent_iod": np.round(
      [error[:17].mean(), error[17:].mean()], 1
    ).tolist(),
    "median_turn_deg": turn.round(1).tolist(),
  }


def main() -> None:
  """Chooses points on the even samples, and measures them on the odd ones."""
  parser = argparse.ArgumentParser(description="Finds the landmark correspondence.")
  parser.add_argument("--count", type=int, default=160, help="synthetic photos")
  faces = samples(open_head("embedded"), parser.parse_args().count)
  mirror = mirrored(faces)
  points, share = pairs(faces[::2], mirror)
  held_out = faces[1::2]
  print(f"{len(faces)} faces, half of them to choose, half held out")
  by_name = np.repeat(np.array(BY_NAME)[:, None], 2, 1)
  results = {
    "by_name": errors("by name", held_out, by_name, np.zeros(68)),
    "chosen": errors("chosen", held_out, points, share),
  }
  points, share = pairs(faces, mirror)
  results["table"] = {"points": points.tolist(), "share": share.tolist()}
  versions = {"jax": jax.__version__, "python": sys.version.split()[0]}
  path = pathlib.Path(__file__).parents[1] / "results" / "landmark_correspondence.json"
  report = {"versions": versions, "faces": len(faces), **results}
  files.write_file(path, json.dumps(report))


if __name__ == "__main__":
  main()
