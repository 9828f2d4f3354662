"""`affjax fit`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import arg

from affjax.commands import _photos
from affjax.photos import FitOptions, Inputs, Progress

if TYPE_CHECKING:
  from affjax.photos import Report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit(_photos.PhotoCommand):
  """Fits a morphable head to the faces of photos and videos.

  Writes OUT/<photo>/face<k>/ for each face: a textured mesh (head.glb, head.obj), UV
  maps (position.npy, diffuse.png, light.png), pose.json and images. OUT/index.html
  shows all heads in 3D. For a video, head.glb moves, frames.csv holds pose and
  expression by frame, and side_by_side.mp4 shows both (docs/video.md).

  Exit status: 0 = every photo gave heads, 1 = some gave none, 2 = nothing was started,
  3 = every photo gave heads, but some are unsure, or a video breaks off.

  Example: affjax fit portrait.jpg clip.mp4 holidays/ -o heads

  Attributes:
    options: Options of the fit.
  """

  options: Annotated[FitOptions, arg(name="")] = FitOptions()  # noqa: RUF009

  videos: ClassVar[bool] = True

  def run(self) -> None:
    """Runs the command."""
    self.run_with(self.options, self._fit)

  def _fit(self, inputs: Inputs, progress: Progress) -> "Report":
    from affjax.photos import fit_photos

    return fit_photos(inputs, self.out, self.options, progress=progress)
