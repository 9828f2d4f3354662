"""The table of measures: what `affjax evaluate` and training report of heads.

A new measure is a function of `Cases` and a row of `MEASURES`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

from affjax.eval import _photo_measures as photo
from affjax.eval import _shape_measures as shape
from affjax.eval._cases import Cases
from affjax.eval._shape_measures import Values


@dataclasses.dataclass(frozen=True)
class Measure:
  """A row of the tables.

  Attributes:
    name: Name of the measure, unique.
    unit: Unit; empty for numbers without any.
    values: Function from cases to one number a head, by part; NaN where nothing of a
      head can be measured.
    truth: Fields that the photos must have: those of `Truths` or of `Photos`.
    heads: Fields that the heads must have: those of `Heads` or of `Meshes`.
    higher: Whether higher values are better.
  """

  name: str
  unit: str
  values: Callable[[Cases], Values]
  truth: tuple[str, ...] = ("vertices",)
  heads: tuple[str, ...] = ("vertices",)
  higher: bool = False

  def applies(self, cases: Cases) -> bool:
    """Returns whether the cases have all that the measure needs."""
    has = lambda whole, names: all(
      getattr(whole, name, None) is not None for name in names
    )
    return has(cases.given, self.truth) and has(cases.answers, self.heads)


def measured(cases: Cases, names: Sequence[str] = ()) -> dict[str, Values]:
  """Returns the values of all measures that apply, by name and part.

  Args:
    cases: Heads and their truth.
    names: Measures to take; all of `MEASURES` if empty.

  Raises:
    ValueError: A name is unknown.
  """
  known = {measure.name: measure for measure in MEASURES}
  unknown = [name for name in names if name not in known]
  if unknown:
    raise ValueError(
      f"measure must be one of {', '.join(known)}, got {', '.join(unknown)}"
    )
  chosen = [known[name] for name in names] if names else MEASURES
  return {
    measure.name: measure.values(cases) for measure in chosen if measure.applies(cases)
  }


def _rows() -> tuple[Measure, ...]:
  part = functools.partial
  geometry, scan, any_surface, any_photo = ("vertices",), ("vertices", "scans"), (), ()
  pose, paint, drawn = ("pose",), ("diffuse",), ("pose", "diffuse", "light")
  return (
    Measure("position, raw", "dm", part(shape.positions, alignment="none")),
    Measure("position, rigid", "dm", part(shape.positions, alignment="rigid")),
    Measure(
      "position, similarity", "dm", part(shape.positions, alignment="similarity")
    ),
    Measure("distance, raw", "mm", part(shape.distances, alignment="none")),
    Measure(
      "distance, similarity", "mm", part(shape.distances, alignment="similarity")
    ),
    Measure("distance, similarity, relative", "% IOD", shape.distances_percent),
    Measure("scan (NoW-like)", "mm", shape.scans, scan, any_surface),
    Measure(
      "scan by region (REALY-like)", "mm", shape.scans_by_region, scan, any_surface
    ),
    Measure("normals, visible face", "deg", shape.normals),
    *(
      Measure(
        f"{which.upper()}, {name}",
        "1e-2" if which == "side" else "deg",
        part(shape.depths, alignment=alignment, which=which),
        *needs,
      )
      for alignment, name, needs in (
        ("none", "raw", (geometry, pose)),
        ("scale", "scale and shift", (geometry, pose)),
        # Surfaces of other tools are laid on the scan instead.
        ("similarity", "similarity", (scan, any_surface)),
      )
      for which in ("side", "mad")
    ),
    Measure("rotation", "deg", photo.rotations, heads=pose),
    Measure("translation across", "mm", part(photo.translations, axis=0), heads=pose),
    Measure("translation along", "mm", part(photo.translations, axis=1), heads=pose),
    Measure(
      "landmarks, inner", "% IOD", part(photo.landmarks, part=0), any_photo, pose
    ),
    Measure(
      "landmarks, contour", "% IOD", part(photo.landmarks, part=1), any_photo, pose
    ),
    *(
      Measure(
        f"diffuse {error}, {name}",
        unit,
        part(photo.diffuses, error=error, shown=name == "visible"),
        truth=paint,
        heads=paint,
        higher=error in ("PSNR", "SSIM"),
      )
      for name in ("visible", "hidden")
      for error, unit in photo.PICTURES
    ),
    *(
      Measure(
        f"render {error}",
        unit,
        part(photo.renders, error=error),
        any_photo,
        drawn,
        higher=error in ("PSNR", "SSIM"),
      )
      for error, unit in photo.PICTURES
    ),
    Measure("identity cosine", "", photo.identities, any_photo, drawn, higher=True),
    Measure(
      "identity cosine, canonical",
      "",
      part(photo.identities, canonical=True),
      any_photo,
      drawn,
      higher=True,
    ),
    *(
      Measure(name, "", part(_retrieved, top=top), any_photo, drawn, higher=True)
      for name, top in photo.RETRIEVALS.items()
    ),
  )


def _retrieved(cases: Cases, top: int) -> Values:
  """Whether canonical heads lead to their photo, among the photos of these cases."""
  return photo.retrievals(photo.identity_pair(cases, canonical=True), top)


MEASURES = _rows()
