"""What a user may say about a preparation."""

import dataclasses
import pathlib

from affjax.data._preparation.splits import Splits

PROVIDERS = ("embedded", "deep3d", "precomputed", "synthetic")
TEMPLATES = ("embedded", "own")


@dataclasses.dataclass(frozen=True)
class Options:
  """What decides the records of a data set.

  Attributes:
    name: of the data set.
    provider: one of `PROVIDERS`.
    template: whose vertices the records hold: "embedded", the template that is trained
      on, or "own", the provider's. Only "deep3d" has another of its own.
    size: width and height of the aligned photos, px.
    licence: of the photos, written into every record.
    splits: shares of train, validation and test.
    person: a regular expression that finds the person in a photo's name.
    limit: prepare only so many photos, the first by name; 0 = all.
    smallest_face: px of the photo; smaller ones are skipped.
    least_quality: samples below are skipped.
    largest_only: only the largest face of a photo.
    geometry: folder of position maps or meshes, for "precomputed".
    model: `BFM_model_front.mat`, for "deep3d".
    weights: `epoch_20.pth`, for "deep3d".
    seed: of synthetic photos.
  """

  name: str = "faces"
  provider: str = "embedded"
  template: str = "embedded"
  size: int = 512
  licence: str = "unknown"
  splits: tuple[float, ...] = (0.96, 0.02, 0.02)
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
    if self.template not in TEMPLATES:
      raise ValueError(
        f"template must be one of {', '.join(TEMPLATES)}, got {self.template!r}"
      )
    if self.size < 32 or self.size % 8:
      raise ValueError(f"size must be a multiple of 8 from 32 on, got {self.size}")
    if self.limit < 0:
      raise ValueError(f"limit must not be negative, got {self.limit}")
    if not 0 <= self.least_quality <= 1:
      raise ValueError(f"least quality must lie in [0, 1], got {self.least_quality}")
    if not self.smallest_face >= 1:
      raise ValueError(f"smallest face must be at least 1 px, got {self.smallest_face}")
    Splits(self.splits, self.person)
