"""`affjax app`."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import arg

from affjax.commands import _console, _parsing, _weights

if TYPE_CHECKING:
  from affjax.photos import PhotoReconstructor

_ABOUT = {
  "surface": "heads fitted to the surface that pixels show",
  "landmarks": "heads fitted to landmarks",
  "networks": "heads by trained networks",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class App(_parsing.Command):
  """Serves a page on this machine, on which photos become heads.

  Writes results only into the folder of -o. Prints the address; open it in a browser,
  drop photos on the page or use the webcam.
  The heads can be turned, relit, moved by ARKit's blendshapes, compared with the photo
  and downloaded. Only this machine can reach the page, and it loads nothing from
  elsewhere. Ctrl-C ends it.

  Needs pip install 'affjax[app]'.

  Exit status: 0 = it was ended, 2 = it could not be started.

  Example: affjax app --port 8765 -o heads

  Attributes:
    port: Serve on this port; 0 takes a free one.
    method: Make heads by this: "surface" and "landmarks" as in affjax fit, "networks"
      as in affjax reconstruct.
    weights: With --method networks, take the networks of this training workdir;
      "embedded" are those that come with affjax.
    out: Keep the results in this folder; without it they are removed at the end.
    keep: Keep so many results; the oldest is removed, also from the folder of -o.
    format: Write meshes in these formats, separated by commas: glb, obj, ply, usdz.
    scalp: Paint the scalp of fitted heads with this: "skin" = skin in the face's tone,
      "photo" = the hair that the photo shows there, "none" = neutral gray.
  """

  port: int = 8765
  method: Literal["surface", "landmarks", "networks"] = "surface"
  weights: Annotated[pathlib.Path, arg(metavar="WORKDIR")] = _weights.EMBEDDED
  out: Annotated[pathlib.Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
  keep: int = 50
  format: str = "glb,obj"
  scalp: Literal["skin", "photo", "none"] = "skin"

  interrupted: ClassVar[str] = "interrupted before the app was there"

  def __post_init__(self) -> None:
    if self.keep < 1:
      raise ValueError(f"keep must be at least 1, got {self.keep}")

  def run(self) -> None:
    """Runs the command."""
    from affjax.app import Limits, serve
    from affjax.export import check_formats
    from affjax.photos import OutputOptions

    options = OutputOptions(format=self.format)
    check_formats(options.formats)
    _console.ERR.print("starting; a photo that comes at once waits for the warm-up")
    serve(
      functools.partial(_reconstructor, self),
      about=_ABOUT[self.method],
      port=self.port,
      out=self.out,
      limits=Limits(results=self.keep),
      options=options,
      started=lambda address: _console.OUT.print(f"{address} (Ctrl-C ends it)"),
    )


def _reconstructor(app: App) -> "PhotoReconstructor":
  """Returns the reconstructor that a command asks for, in the worker process."""
  from affjax.heads import open_head
  from affjax.photos import FitReconstructor, NetworkReconstructor

  if app.method == "networks":
    networks = NetworkReconstructor(_weights.load_run(app.weights))
    networks.require_trained()
    return networks
  return FitReconstructor(open_head("embedded"), method=app.method, scalp=app.scalp)
