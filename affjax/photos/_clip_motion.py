"""The motion of a head in a video, and the files that show it."""

import array
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from affjax.export import (
  Performance,
  RecordingWriter,
  animated_glb,
  head_to_photo,
  paint_photo,
)
from affjax.faces import (
  Crop,
  HeadMotion,
  MotionFilter,
  Person,
  apply_crop,
  limited_confidence,
)
from affjax.photos._clip_people import CROP_SIZE
from affjax.photos._video_file import ClipFrame, ClipWriter
from affjax.types import Camera

RECORDING, SIDE_BY_SIDE = "frames.csv", "side_by_side.mp4"
# Longer side of each half of the video, and side of the raster of its head, px.
_PANEL, _RASTER = 640, 256


@dataclasses.dataclass(frozen=True, eq=False)
class Actor:
  """A person of a video whose head is known.

  Attributes:
    number: Number of the face, as the `Follower` gave it.
    last: Number of the last frame with the face.
    person: The person.
    folder: Folder of the head, which holds `head.glb`.
    texture: File of the shaded texture, uint8 `[S, S, 3]`.
    reference: Length of a decimeter of the head where z is 0, px.
    scale: Size of the head over that of head space.
  """

  number: int
  last: int
  person: Person
  folder: pathlib.Path
  texture: pathlib.Path
  reference: float
  scale: float


class MotionWriter:
  """Finds the motion of a head, and writes it as it comes.

  Args:
    actor: The person.
    frame_size: Height and width of the frames, px.
    name: Name of the animation.
  """

  def __init__(self, actor: Actor, frame_size: tuple[int, int], name: str) -> None:
    self.actor, self._frame_size, self._name = actor, frame_size, name
    self._person = actor.person
    self._panel = _panel_size(frame_size)
    self._texture = np.load(actor.texture).astype(np.float32) / 255
    self._filter = MotionFilter()
    self._times, self._numbers = array.array("d"), array.array("f")
    self._file = (actor.folder / RECORDING).open("w", encoding="utf-8", newline="")
    self._rows = RecordingWriter(self._file, self._person.model.expression_names)
    height, width = self._panel
    self._video = ClipWriter(actor.folder / SIDE_BY_SIDE, (height, 2 * width))

  def close(self) -> None:
    """Closes the files; a second time it does nothing."""
    self._file.close()
    self._video.close()

  def add(self, frames: Sequence[ClipFrame], rows: Sequence[np.void | None]) -> None:
    """Writes the next frames.

    Args:
      frames: The frames.
      rows: Sighting of the person in each; None where there is none.
    """
    motions = self._motions(frames, rows)
    for frame, motion in zip(frames, motions, strict=True):
      if motion is None:
        # Nothing is written before the first sighting, nor after the last one.
        if self._times and frame.number < self.actor.last:
          self._show(frame, None)
        continue
      found, confidence = motion
      smooth = self._filter.step(found, frame.time)
      self._record(frame, smooth, confidence)
      self._show(frame, smooth)

  def finish(self) -> None:
    """Closes the files, and gives the animation to `head.glb`."""
    self.close()
    numbers = np.array(self._numbers).reshape(len(self._times), -1)
    performance = Performance(
      names=self._person.model.expression_names,
      times=np.array(self._times) - self._times[0],
      weights=numbers[:, 6:],
      head_deg=numbers[:, :3],
      head_mm=numbers[:, 3:6],
    )
    path = self.actor.folder / "head.glb"
    path.write_bytes(animated_glb(path.read_bytes(), performance, name=self._name))

  def _motions(
    self, frames: Sequence[ClipFrame], rows: Sequence[np.void | None]
  ) -> list[tuple[HeadMotion, float] | None]:
    """Returns the motion in each frame before smoothing, and the confidence."""
    found: list[tuple[HeadMotion, float] | None] = [None] * len(frames)
    pairs = zip(frames, rows, strict=True)
    seen = [(k, f, row) for k, (f, row) in enumerate(pairs) if row is not None]
    if not seen:
      return found
    camera = Camera()
    crops = [Crop(row["matrix"], CROP_SIZE) for _, _, row in seen]
    images = [
      apply_crop(frame.pixels, crop)
      for (_, frame, _), crop in zip(seen, crops, strict=True)
    ]
    fits = self._person.fit(
      [row["landmarks"].astype(np.float64) for _, _, row in seen],
      crops,
      np.rint(255 * np.stack(images)).astype(np.uint8),
      camera,
    )
    for n, ((k, _, row), crop) in enumerate(zip(seen, crops, strict=True)):
      motion = HeadMotion.from_crop(fits.pose[n], fits.weights[n], crop, camera)
      error = float(fits.inner_error[n])
      found[k] = motion, limited_confidence(float(row["score"]), error)
    return found

  def _record(
    self,
    frame: ClipFrame,
    motion: HeadMotion,
    confidence: float,
  ) -> None:
    moved = motion.translation(self._frame_size, self.actor.reference, Camera())
    head_deg, head_mm = motion.angles_deg(), (100 * self.actor.scale * moved).tolist()
    self._rows.add(
      frame.number,
      frame.time,
      motion.weights,
      confidence=confidence,
      head_deg=head_deg,
      head_mm=head_mm,
    )
    self._times.append(frame.time)
    self._numbers.extend([*head_deg, *head_mm, *motion.weights.tolist()])

  def _show(
    self,
    frame: ClipFrame,
    motion: HeadMotion | None,
  ) -> None:
    """Appends the frame and, beside it, the head painted on it."""
    height, width = self._panel
    picture = Image.fromarray(frame.pixels)
    size = Image.Resampling.BOX if picture.width > width else Image.Resampling.BICUBIC
    left = np.asarray(picture.resize((width, height), size, reducing_gap=1.0))
    right = left if motion is None else self._painted(left, motion)
    self._video.add(np.concatenate([left, right], 1), frame.time)

  def _painted(
    self,
    panel: UInt8[np.ndarray, "h w 3"],
    motion: HeadMotion,
  ) -> UInt8[np.ndarray, "h w 3"]:
    camera, person = Camera(), self._person
    zoom = panel.shape[1] / self._frame_size[1]
    place, size = (motion.place + 0.5) * zoom - 0.5, motion.size * zoom
    moved = motion._replace(place=place, size=size)
    crop, pose = moved.crop(_RASTER, camera)
    view = head_to_photo(pose, camera, crop=crop.matrix, crop_size=crop.size)
    head = person.vertices(motion.weights[None])[0]
    template = person.model.template
    return paint_photo(
      *(panel, head, self._texture, template, camera, view),
      side=_RASTER,
      smooth=False,
    )


def _panel_size(frame_size: tuple[int, int]) -> tuple[int, int]:
  """Returns the even height and width of each half of the video, px."""
  scale = min(1.0, _PANEL / max(frame_size))
  height, width = (max(2, 2 * round(side * scale / 2)) for side in frame_size)
  return height, width
