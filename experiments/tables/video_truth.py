"""Measures the motion that `affjax fit clip.mp4` finds against a known one.

  python -m experiments.tables.video_truth                    # about ten minutes
  python -m experiments.tables.video_truth --out out/truth    # keeps clip and results

The clip is five seconds at 30 Hz of a random embedded head with plain skin under one
light, which turns, nods, tilts, moves and makes faces by known amounts, before a gray
wall, with a camera's noise and H.264; the first second rests. Rotations are compared
as the line of sight to the head sees them, as `frames.csv` states them; places after
their mean error, since a clip does not show where the camera's zero is. The still head
is the constant pose and expression that is nearest to the truth. Weights above rest are
those less their mean in the first second. Jitter is the change of the error from frame
to frame. Writes `results/video_truth.json` and `docs/images/video_truth.jpg`.
"""

import argparse
import csv
import json
import math
import pathlib
import tempfile
from collections.abc import Iterator
from unittest import mock

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from affjax.commands import main as affjax_main
from affjax.export import head_to_photo, paint_photo
from affjax.faces import HeadMotion, MotionFilter, Person
from affjax.geometry import mesh, uv
from affjax.heads import open_head, plain_diffuse
from affjax.photos import Clip, ClipWriter
from affjax.types import Camera, Template
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "video_truth.json"
PICTURE = pathlib.Path(__file__).parents[2] / "docs" / "images" / "video_truth.jpg"
# Frames of the picture, its columns, and the height of each frame in it, px.
SHOWN, COLUMNS, HEIGHT = range(27, 135, 9), 4, 200
RATE, SECONDS, SIZE = 30.0, 5.0, 320
# Each unit rises and falls once: its center, s, half its length, s, and its peak.
UNITS = {
  "jawOpen": (1.6, 0.45, 0.6),
  "mouthSmileLeft": (2.7, 0.6, 0.8),
  "mouthSmileRight": (2.7, 0.6, 0.7),
  "eyeBlinkLeft": (2.1, 0.15, 1.0),
  "eyeBlinkRight": (2.1, 0.15, 1.0),
  "browInnerUp": (3.6, 0.5, 0.8),
  "mouthPucker": (4.3, 0.5, 0.8),
}


def times() -> np.ndarray:
  """Returns the times of the frames, s."""
  return np.arange(round(RATE * SECONDS)) / RATE


def head_deg(time: float) -> tuple[float, float, float]:
  """Returns yaw, pitch and roll of the head."""
  t = max(time - 1, 0)
  return (
    28 * math.sin(2.4 * t),
    10 * math.sin(3.1 * t),
    8 * math.sin(1.7 * t),
  )


def place_dm(time: float) -> np.ndarray:
  """Returns the translation of the head."""
  t = max(time - 1, 0)
  return np.array(
    [0.25 * math.sin(2.0 * t), 0.12 * math.sin(2.8 * t), 0.7 * math.sin(1.3 * t)]
  )


def weights(time: float, names: tuple[str, ...]) -> np.ndarray:
  """Returns the weights of the expression units."""
  found = np.zeros(len(names), np.float32)
  for name, (center, half, peak) in UNITS.items():
    share = max(0.0, 1 - abs(time - center) / half)
    found[names.index(name)] = peak * math.sin(math.pi / 2 * share) ** 2
  return found


def rotation(time: float) -> Rotation:
  """Returns the rotation before the camera."""
  yaw, pitch, roll = head_deg(time)
  return Rotation.from_euler("ZYX", [roll, yaw, pitch], degrees=True)


def seen_rotation(time: float) -> Rotation:
  """Returns the rotation as the line of sight to the head's origin sees it."""
  sight = np.array([0, 0, Camera().distance]) - place_dm(time)
  side = np.cross([0, 1, 0], sight)
  axes = np.stack([side, np.cross(sight, side), sight], 1)
  return Rotation.from_matrix(axes / np.linalg.norm(axes, axis=0)).inv() * rotation(
    time
  )


def synthetic_person() -> Person:
  """Returns a random person with the embedded head."""
  model = open_head("embedded")
  values = np.random.default_rng(16).standard_normal(len(model.identity_basis))
  return Person.of(model, values.astype(np.float32))


def shaded(
  vertices: np.ndarray, turn: Rotation, template: Template, diffuse: np.ndarray
) -> np.ndarray:
  """Returns the diffuse map under light from the camera's upper left."""
  normals = turn.apply(np.asarray(mesh.vertex_normals(vertices, template.faces)))
  light = np.array([-0.5, 0.6, 0.7]) / np.linalg.norm([-0.5, 0.6, 0.7])
  bright = 0.55 + 0.55 * np.maximum(normals @ light, 0)
  gray = np.repeat(bright[:, None], 3, 1).astype(np.float32)
  table = uv.uv_table(template, len(diffuse))
  return np.clip(diffuse * np.asarray(uv.map_from_vertices(gray, table)), 0, 1)


def frames(person: Person) -> Iterator[tuple[float, np.ndarray]]:
  """Yields the times and the frames of the clip."""
  rng, camera = np.random.default_rng(612), Camera()
  names, template = person.model.expression_names, person.model.template
  diffuse = plain_diffuse(template, 512)
  row, column = np.mgrid[:SIZE, :SIZE] / SIZE
  wall = 90 + 40 * row + 20 * np.sin(7 * column)
  wall = np.repeat(wall[..., None], 3, -1).astype(np.uint8)
  for time in times():
    turn = rotation(time)
    pose = np.concatenate([turn.as_rotvec(), place_dm(time)]).astype(np.float32)
    view = head_to_photo(pose, camera, crop=np.eye(2, 3), crop_size=SIZE)
    head = person.vertices(weights(time, names)[None])[0].astype(np.float32)
    texture = shaded(head, turn, template, diffuse)
    picture = paint_photo(wall, head, texture, template, camera, view, side=SIZE)
    noisy = picture + 3 * rng.standard_normal(picture.shape)
    yield float(time), np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


class Recorder:
  """Keeps the motion of every frame before and after smoothing."""

  def __init__(self) -> None:
    self.times: list[float] = []
    self.found: list[HeadMotion] = []
    self.smooth: list[HeadMotion] = []
    self._step = MotionFilter.step

  def step(self, own: MotionFilter, motion: HeadMotion, time: float) -> HeadMotion:
    """Filters a motion and keeps it."""
    smooth = self._step(own, motion, time)
    self.times.append(time)
    self.found.append(motion)
    self.smooth.append(smooth)
    return smooth


def measured(person: Person, at: np.ndarray, motions: list[HeadMotion]) -> dict:
  """Returns the errors of motions."""
  reference, camera = float(np.median([m.size for m in motions])), Camera()
  turns = Rotation.from_quat([m.rotation for m in motions])
  places = [m.translation((SIZE, SIZE), reference, camera) for m in motions]
  values = np.stack([m.weights for m in motions])
  return errors(person, at, turns, np.stack(places), values)


def errors(
  person: Person, at: np.ndarray, turns: Rotation, places: np.ndarray, found: np.ndarray
) -> dict:
  """Returns the errors of rotations, translations (dm) and weights."""
  names = person.model.expression_names
  moving = [names.index(name) for name in UNITS]
  true_turns = Rotation.concatenate([seen_rotation(t) for t in at])
  true_places = np.stack([place_dm(t) for t in at])
  true_weights = np.stack([weights(t, names) for t in at])
  turn_errors = (turns * true_turns.inv()).as_rotvec(degrees=True)
  place_errors = 100 * (places - true_places)
  weight_errors = found - true_weights
  centered = place_errors - place_errors.mean(0)
  steady = turn_errors - turn_errors.mean(0)
  step = lambda x: float(np.abs(np.diff(x, axis=0)).mean())
  length = lambda x: float(np.linalg.norm(x, axis=1).mean())
  rest = at < 1
  risen = np.clip(found - found[rest].mean(0), 0, 1) - true_weights
  return {
    "rotation_deg": length(turn_errors),
    "rotation_without_mean_deg": length(steady),
    "sideways_mm": length(centered[:, :2]),
    "distance_mm": float(np.abs(centered[:, 2]).mean()),
    "weights": float(np.abs(weight_errors).mean()),
    "moved_weights": float(np.abs(weight_errors[:, moving]).mean()),
    "weights_above_rest": float(np.abs(risen).mean()),
    "moved_weights_above_rest": float(np.abs(risen[:, moving]).mean()),
    "jitter": {
      "rotation_deg": step(turn_errors),
      "place_mm": step(place_errors),
      "weights": step(weight_errors),
    },
    "jitter_at_rest": {
      "rotation_deg": step(turn_errors[rest]),
      "place_mm": step(place_errors[rest]),
      "weights": step(weight_errors[rest]),
    },
    "weights_correlation": {
      name: float(np.corrcoef(found[:, k], true_weights[:, k])[0, 1])
      if found[:, k].std() > 1e-6
      else 0.0
      for name, k in zip(UNITS, moving, strict=True)
    },
  }


def still(person: Person, at: np.ndarray) -> dict:
  """Returns the errors of the constant pose and expression nearest to the truth."""
  names = person.model.expression_names
  turns = Rotation.concatenate([seen_rotation(t) for t in at])
  mean = Rotation.concatenate([turns.mean()] * len(at))
  place = np.stack([place_dm(t) for t in at]).mean(0, keepdims=True).repeat(len(at), 0)
  value = np.median([weights(t, names) for t in at], 0)[None].repeat(len(at), 0)
  return errors(person, at, mean, place, value)


def identity_error_mm(person: Person, folder: pathlib.Path) -> dict:
  """Returns how far the neutral head of the clip is from the true one, on the face."""
  made = json.loads((folder / "pose.json").read_text())["made"]
  model = person.model
  rest = np.array(list(made["video"]["rest"].values()), np.float32)
  found = Person(model, np.array(made["identity"], np.float32), rest).neutral
  near = np.unique(model.template.faces[model.template.landmark_faces])
  off = lambda head: (
    100 * float(np.linalg.norm((head - person.neutral)[near], axis=1).mean())
  )
  return {"clip": off(found), "mean_head": off(model.template.vertices)}


def sheet(video: pathlib.Path) -> Image.Image:
  """Returns some frames of the video that shows the clip and what was found."""
  size = (2 * HEIGHT, HEIGHT)
  shown = [
    np.asarray(Image.fromarray(f.pixels).resize(size, Image.Resampling.LANCZOS))
    for f in Clip(video)
    if f.number in SHOWN
  ]
  starts = range(0, len(shown), COLUMNS)
  rows = [np.concatenate(shown[k : k + COLUMNS], 1) for k in starts]
  return Image.fromarray(np.concatenate(rows))


def main() -> None:
  """Makes the clip, runs the command, and writes the figures."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, help="keep the clip and its results")
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    out = given.out or pathlib.Path(temporary)
    out.mkdir(parents=True, exist_ok=True)
    clip = out / "truth.mp4"
    person = synthetic_person()
    if not clip.exists():
      partial = clip.with_suffix(".partial")
      with ClipWriter(partial, (SIZE, SIZE)) as writer:
        for time, picture in frames(person):
          writer.add(picture, time)
      partial.rename(clip)
    recorder = Recorder()
    step = lambda own, motion, time: recorder.step(own, motion, time)
    with mock.patch.object(MotionFilter, "step", step):
      status = affjax_main(["fit", str(clip), "-o", str(out / "heads"), "--overwrite"])
    if status not in (0, 3):
      raise SystemExit("the clip was not fitted")
    place = out / "heads" / "truth" / "face1"
    with (place / "frames.csv").open(newline="") as file:
      rows = list(csv.DictReader(file))
    at = np.array(recorder.times)
    result = {
      "clip": {"frames": len(times()), "found": len(rows), "side_px": SIZE},
      "still head": still(person, at),
      "as found": measured(person, at, recorder.found),
      "smoothed": measured(person, at, recorder.smooth),
      "neutral_head_mm": identity_error_mm(person, place),
    }
    sheet(place / "side_by_side.mp4").save(PICTURE, quality=88)
    if given.out:
      (out / "motion.json").write_text(json.dumps(_kept(recorder)))
  measuring.write_json(RESULT, result)
  print(RESULT.read_text())


def _kept(recorder: Recorder) -> dict:
  """Returns the motion before smoothing, for trials of the filter."""
  rows = [[*m.rotation, *m.place, m.size, *m.weights] for m in recorder.found]
  return {"times": recorder.times, "found": np.array(rows, float).tolist()}


if __name__ == "__main__":
  main()
