"""The limits of the app."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
  """The largest sizes, numbers and times that the app allows.

  Attributes:
    upload_bytes: Size of an uploaded photo.
    upload_seconds: Time that an upload may take.
    waiting: Number of photos that wait or are being uploaded.
    photo_seconds: Time that a photo may take.
    results: Number of finished photos that are kept; the oldest is removed.
    result_bytes: Size of all results that are kept.
  """

  upload_bytes: int = 64 << 20
  upload_seconds: float = 120
  waiting: int = 20
  photo_seconds: float = 900
  results: int = 50
  result_bytes: int = 4 << 30

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      if (value := getattr(self, field.name)) <= 0:
        raise ValueError(f"{field.name} must be positive, got {value}")
