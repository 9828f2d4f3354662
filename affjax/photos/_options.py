"""The options of reconstructing photos; the commands are made from them.

This module imports nothing else, so that a command can print its help at once.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Literal

# Function that is called after each photo, with its path and its number of faces.
Progress = Callable[[pathlib.Path, int], None]

_MAP_SIZES = (64, 1024)


@dataclasses.dataclass(frozen=True)
class OutputOptions:
  """Options of writing heads, which every reconstructor shares.

  Attributes:
    keep_eyes_and_mouth: Keep the photo's own eyes and mouth interior in overlay.png.
    overwrite: Replace results of the same name. Files and folders that affjax did not
      write are never replaced.
    resume: Continue a run into the same folder: photos with a result there are skipped,
      those that failed are tried again, and the pages show all.
    format: Write meshes in these formats, separated by commas: glb, obj, ply, usdz.
    iris: Take the size of the head from the irises, which are 11.7 mm wide in nearly
      everyone; meshes otherwise have the size of the mean head.
    map_size: Set the width and height of the UV maps, in texels: a
      multiple of 8 from 64 to 1024.
    workers: Use so many processes, each of which needs about 1 GB of memory; 0 takes
      one for each core where there are photos enough.
  """

  keep_eyes_and_mouth: bool = False
  overwrite: bool = False
  resume: bool = False
  format: str = "glb,obj"
  iris: bool = False
  map_size: int = 512
  workers: int = 0

  def __post_init__(self) -> None:
    low, high = _MAP_SIZES
    if self.map_size % 8 or not low <= self.map_size <= high:
      raise ValueError(
        f"map_size must be a multiple of 8 from {low} to {high}, got {self.map_size}"
      )
    if self.workers < 0:
      raise ValueError(f"workers must not be negative, got {self.workers}")
    if self.resume and self.overwrite:
      raise ValueError("resume and overwrite exclude each other: choose one")

  @property
  def formats(self) -> tuple[str, ...]:
    """The mesh formats."""
    return tuple(name.strip() for name in self.format.split(","))


@dataclasses.dataclass(frozen=True)
class FitOptions(OutputOptions):
  """Options of fitting a morphable head model to photos.

  Attributes:
    template: Fit this head model: "embedded", the folder of ICT-FaceKit, a file of BFM,
      FLAME or Surrey, or an OBJ file with UVs.
    method: Find shape and pose from this: "surface" asks a network where each point of
      the face is seen (the embedded head only; others are fitted to landmarks),
      "landmarks" fits to 68 landmarks alone.
    same_person: All photos show the same person, whose identity they share: the
      largest face of each photo counts, and the method must be "surface".
    photometric: Read the diffuse and light maps off the photo; with
      --no-photometric the head gets plain skin.
    scalp: Paint the scalp with this: "skin" = skin in the face's tone, "photo" = the
      hair that the photo shows there, "none" = neutral gray, for a hair model.
  """

  template: str = "embedded"
  method: Literal["surface", "landmarks"] = "surface"
  same_person: bool = False
  photometric: bool = True
  scalp: Literal["skin", "photo", "none"] = "skin"

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.method not in ("landmarks", "surface"):
      raise ValueError(f"method must be one of landmarks, surface, got {self.method!r}")
    if self.same_person and (self.method, self.template) != ("surface", "embedded"):
      raise ValueError(
        "same_person needs method 'surface' and template 'embedded', got "
        f"{self.method!r} and {self.template!r}"
      )
    if self.scalp not in ("skin", "photo", "none"):
      raise ValueError(f"scalp must be one of skin, photo, none, got {self.scalp!r}")


@dataclasses.dataclass(frozen=True)
class ReconstructOptions(OutputOptions):
  """Options of reconstructing photos by trained networks.

  Attributes:
    pose: Take the pose from here: "landmarks" places the predicted shape on
      the landmarks that were found in the photo; "network" takes the pose network's
      prediction, as in the paper; "auto" is "network" for guided networks, which
      correct the pose of a fit, and "landmarks" for others.
  """

  pose: Literal["auto", "landmarks", "network"] = "auto"

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.pose not in ("auto", "landmarks", "network"):
      raise ValueError(
        f"pose must be one of auto, landmarks, network, got {self.pose!r}"
      )
