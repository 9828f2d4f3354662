"""`affjax reconstruct`."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from affjax.commands import _photos, _weights
from affjax.photos import Inputs, Progress, ReconstructOptions

if TYPE_CHECKING:
  from affjax.photos import Report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruct(_photos.PhotoCommand):
  """Reconstructs every face of photos by trained networks.

  Writes OUT/<photo>/face<k>/ for each face: a textured mesh (head.glb, head.obj), UV
  maps (position.npy, diffuse.png, light.png), pose.json and images. OUT/index.html
  shows all heads in 3D. The template is the one that the networks were trained with.

  Exit status: 0 = every photo gave heads, 1 = some gave none, 2 = nothing was started,
  3 = every photo gave heads, but some of them are unsure.

  Example: affjax reconstruct portrait.jpg holidays/ -o heads --weights runs/a

  Attributes:
    weights: Take the networks of this training workdir; "embedded" are those that come
      with affjax.
    best: Take the checkpoint with the lowest loss of held-out samples, not the newest.
    options: Options of the pose and of writing.
  """

  weights: Annotated[pathlib.Path, arg(metavar="WORKDIR")] = _weights.EMBEDDED
  best: bool = False
  options: Annotated[ReconstructOptions, arg(name="")] = ReconstructOptions()  # noqa: RUF009

  def run(self) -> None:
    """Runs the command."""
    self.run_with(self.options, self._reconstruct)

  def _reconstruct(self, inputs: Inputs, progress: Progress) -> "Report":
    from affjax.photos import reconstruct_photos

    load = functools.partial(_weights.load_run, self.weights, best=self.best)
    return reconstruct_photos(
      inputs, self.out, load(), self.options, load=load, progress=progress
    )
