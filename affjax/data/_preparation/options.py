"""The options of a preparation; the command `affjax prepare` is made from them."""

import dataclasses
import pathlib

from affjax.data._preparation.splits import Splits

PROVIDERS = ("fit", "surface", "deep3d", "precomputed", "synthetic")


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
  """The options that determine the records of a prepared data set.

  Attributes:
    name: Name the data set; its files are written to OUT/NAME/1.0.0.
    provider: Take the geometry of the heads from this provider: "fit" (a morphable
      model fitted to landmarks), "surface" (the embedded head fitted to what each pixel
      shows of it; other models to landmarks), "deep3d" (Deep3DFaceRecon's network),
      "precomputed" (files of another program) or "synthetic" (exact, for synthetic
      photos).
    template: Store the vertices of this head: "embedded", or the path of an ICT-FaceKit
      folder, a BFM, FLAME or Surrey file, or an OBJ with UVs. With "deep3d", the path
      given as --model keeps the BFM's own vertices.
    size: Set the width and height of the aligned photos, in px, a multiple of 8.
    licence: Write this license of the photos into every record.
    splits: Set the shares of the splits train, validation and test, which sum to 1.
    person: Keep all photos of a person in one split: a regular expression that finds
      the person in a photo's name.
    limit: Prepare only this many photos, the first by name; 0 prepares all.
    smallest_face: Skip faces narrower than this, in px of the photo.
    least_quality: Skip samples of a lower quality, in [0, 1]; 0 keeps all.
    largest_only: Keep only the largest face of each photo.
    geometry: Read position maps or meshes from this folder; needed by "precomputed".
    model: Read the BFM from this file, BFM_model_front.mat; needed by "deep3d".
    weights: Read the network's weights from this file, epoch_20.pth; needed by
      "deep3d".
    seed: Seed the synthetic photos.
  """

  name: str = "faces"
  provider: str = "fit"
  template: str = "embedded"
  size: int = 512
  licence: str = "unknown"
  splits: str = "0.96,0.02,0.02"
  person: str = ""
  limit: int = 0
  smallest_face: float = 32.0
  least_quality: float = 0.0
  largest_only: bool = False
  geometry: pathlib.Path | None = None
  model: pathlib.Path | None = None
  weights: pathlib.Path | None = None
  seed: int = 0

  def __post_init__(self):
    if self.provider not in PROVIDERS:
      raise ValueError(
        f"provider must be one of {', '.join(PROVIDERS)}, got {self.provider!r}"
      )
    if self.size < 32 or self.size % 8:
      raise ValueError(f"size must be a multiple of 8 and at least 32, got {self.size}")
    if self.limit < 0:
      raise ValueError(f"limit must not be negative, got {self.limit}")
    if not 0 <= self.least_quality <= 1:
      raise ValueError(f"least quality must lie in [0, 1], got {self.least_quality}")
    if not self.smallest_face >= 1:
      raise ValueError(f"smallest face must be at least 1 px, got {self.smallest_face}")
    self.splitter()

  def splitter(self) -> Splits:
    """Returns the rule that assigns photos to splits."""
    return Splits.parse(self.splits, self.person)


@dataclasses.dataclass(frozen=True)
class PrepareRun:
  """The way in which a preparation is carried out; none of it changes the records.

  Attributes:
    workers: Use this many processes; 0 uses one per CPU core.
    runner: Run on Apache Beam instead, with the runner of this name, for example
      DirectRunner or FlinkRunner.
    beam: Pass these options to the Beam runner, each as --name=value.
    restart: Discard an unfinished preparation that was made with other options.
    overwrite: Replace a finished data set of the same name.
  """

  workers: int = 0
  runner: str = ""
  beam: tuple[str, ...] = ()
  restart: bool = False
  overwrite: bool = False

  def __post_init__(self):
    if self.workers < 0:
      raise ValueError(f"workers must not be negative, got {self.workers}")
