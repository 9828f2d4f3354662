"""A video to heads: one identity and its motion for each person.

The video is read twice. First its faces are followed, and the best views of each person
give the identity and the colors, as photos of one person do. Then each frame gives pose
and expression of the heads that are known.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from affjax.export import Reconstruction, card_files, head_files
from affjax.faces import (
  LEAST_SCORE,
  Fit,
  HeadMotion,
  Person,
  PhotoError,
  apply_crop,
  face_crops,
  fit_surface,
  inside_photo,
  reads_surface_of,
)
from affjax.photos._by_fit import CROP_SIZE, FitReconstructor
from affjax.photos._clip_motion import RECORDING, SIDE_BY_SIDE, Actor, MotionWriter
from affjax.photos._clip_people import (
  SeenPerson,
  Sightings,
  View,
  batched,
  seen_people,
)
from affjax.photos._options import FitOptions
from affjax.photos._video_file import Clip, ClipFrame
from affjax.photos._writer import Written, write_head
from affjax.types import Camera

# Number of frames that are fitted at once.
_BATCH = 16


def fit_clip(
  path: pathlib.Path,
  folder: pathlib.Path,
  reconstructor: FitReconstructor,
  options: FitOptions,
) -> Written:
  """Fits the head of each person of a video, and writes `FOLDER/face<k>/...`.

  Args:
    path: The video.
    folder: An existing folder, which is empty.
    reconstructor: The method, of the embedded head and its surface.
    options: Options of writing.

  Raises:
    ClipError: The file is no video that can be read.
    PhotoError: No face was found.
    ValueError: The method does not take videos.
  """
  if reconstructor.method != "surface" or not reads_surface_of(reconstructor.model):
    raise ValueError("a video needs method 'surface' and template 'embedded'")
  work = folder / "work"
  work.mkdir()
  clip, camera = Clip(path), Camera()
  studio = _Studio(path, folder, work, reconstructor, options)
  with Sightings(work / "sightings") as sightings:
    frames = _watched(clip, studio)
    template = reconstructor.model.template
    for seen in seen_people(frames, template, camera, sightings):
      studio.cast(seen)
    if not studio.actors:
      raise PhotoError(f"no face found in {clip.frames} frames")
    _play(clip, sightings, studio)
  shutil.rmtree(work)
  return Written(studio.size, studio.confidences, clip.broken)


def _at(person: Person, fit: Fit) -> Fit:
  """Returns a fit whose expression is counted from a person at rest."""
  weights = np.clip(fit.expression - person.rest, 0, 1).astype(np.float32)
  vertices = person.vertices(weights[None])[0].astype(np.float32)
  return dataclasses.replace(fit, expression=weights, vertices=vertices)


def _watched(clip: Clip, studio: "_Studio") -> Iterator[ClipFrame]:
  for frame in clip:
    studio.size = frame.pixels.shape[0], frame.pixels.shape[1]
    yield frame


class _Studio:
  """Makes the heads of people, and writes their files."""

  def __init__(
    self,
    path: pathlib.Path,
    folder: pathlib.Path,
    work: pathlib.Path,
    reconstructor: FitReconstructor,
    options: FitOptions,
  ) -> None:
    self.path, self.folder, self.work = path, folder, work
    self.reconstructor, self.options = reconstructor, options
    self.actors: list[Actor] = []
    self.confidences: list[float | None] = []
    self.size = 0, 0

  def cast(self, seen: SeenPerson) -> None:
    """Makes the head of a person from the best views, unless it is no face."""
    model, views = self.reconstructor.model, seen.chosen()
    fits = fit_surface(
      model,
      [view.face for view in views],
      [view.crop for view in views],
      np.stack([view.image for view in views]),
      Camera(),
      people=[0] * len(views),
    )
    person = self._person(views, fits[0])
    head, frame = self._head(seen, _at(person, fits[0]), len(views), person)
    if head.confidence is not None and head.confidence < LEAST_SCORE:
      return
    number = len(self.actors) + 1
    texture = self.work / f"texture{number}.npy"
    np.save(texture, np.rint(255 * np.clip(head.shaded, 0, 1)).astype(np.uint8))
    view = views[0]
    motion = HeadMotion.from_crop(fits[0].pose, np.zeros(1), view.crop, Camera())
    place = self.folder / f"face{number}"
    self._write(head, frame.pixels, place, f"Face {number}")
    size = motion.size
    self.actors.append(
      Actor(seen.number, seen.last, person, place, texture, size, head.scale)
    )
    self.confidences.append(head.confidence)

  def _person(self, views: Sequence[View], fit: Fit) -> Person:
    """Returns the person of some views, who has the identity of a fit."""
    person = Person.of(self.reconstructor.model, fit.identity)
    frames = person.fit(
      [view.face.landmarks68 for view in views],
      [view.crop for view in views],
      np.stack([view.image for view in views]),
      Camera(),
    )
    return person.rested(frames.weights)

  def _head(
    self, seen: SeenPerson, fit: Fit, views: int, person: Person
  ) -> tuple[Reconstruction, ClipFrame]:
    """Returns the head of a person in the best frame, and the frame."""
    assert seen.best is not None
    view, frame = seen.best
    template = self.reconstructor.model.template
    (crop,) = face_crops([view.face], template, Camera(), CROP_SIZE)
    pixels = frame.pixels
    image, inside = apply_crop(pixels, crop), inside_photo(pixels, crop)
    head = self.reconstructor.head_of(image, inside, self.path, view.face, crop, fit)
    facts = {
      "frames": seen.count,
      "first_frame": seen.first,
      "last_frame": seen.last,
      "frame": frame.number,
      "seconds": round(frame.time, 3),
      "frames_for_identity": views,
      "rest": {
        name: round(float(weight), 4)
        for name, weight in zip(person.model.expression_names, person.rest, strict=True)
      },
    }
    return dataclasses.replace(head, notes={**head.notes, "video": facts}), frame

  def _write(
    self,
    head: Reconstruction,
    pixels: UInt8[np.ndarray, "h w 3"],
    place: pathlib.Path,
    title: str,
  ) -> None:
    """Writes the files of a head that does not move yet."""
    formats = {*self.options.formats, "glb"}
    keep = self.options.keep_eyes_and_mouth
    contents = head_files(head, pixels, formats=formats, keep_original=keep)
    more = {RECORDING: b"", SIDE_BY_SIDE: b""}
    card = card_files(head, pixels, {**contents, **more}, title=title)
    write_head(place, contents, card)


def _play(clip: Clip, sightings: Sightings, studio: "_Studio") -> None:
  """Writes the motion of all heads, frame by frame."""
  size = studio.size
  waiting = {actor.number: actor for actor in studio.actors}
  writers: dict[int, MotionWriter] = {}
  try:
    for batch in batched(_with_sightings(clip, sightings), _BATCH):
      for number in {number for _, found in batch for number in found}:
        if actor := waiting.pop(number, None):
          writers[number] = MotionWriter(actor, size, clip.path.stem)
      frames = [frame for frame, _ in batch]
      for number, writer in [*writers.items()]:
        writer.add(frames, [found.get(number) for _, found in batch])
        if frames[-1].number >= writer.actor.last:
          writers.pop(number).finish()
  finally:
    for writer in writers.values():
      writer.close()


def _with_sightings(
  clip: Clip, sightings: Sightings
) -> Iterator[tuple[ClipFrame, dict[int, np.void]]]:
  """Yields the frames with the sightings in each by the number of the person."""
  rows = sightings.by_frame()
  number, found = next(rows, (-1, {}))
  for frame in clip:
    if frame.number == number:
      yield frame, found
      number, found = next(rows, (-1, {}))
    else:
      yield frame, {}
