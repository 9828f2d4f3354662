"""`affjax animate`."""

import dataclasses
import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Animate(_parsing.Command):
  """Plays a recording of expressions on a head, as an animated GLB.

  Writes HEAD-RECORDING.glb, or the file of -o: the head with an animation of its
  expression units, eyes and, if recorded, rotation. A recording is a JSON file of
  ARKit weights by frame, or a CSV file of Live Link Face (docs/animation.md).

  Exit status: 0 = the file is written, 2 = it cannot be made.

  Example: affjax animate heads/portrait/face1/head.glb smile.json -o smile.glb

  Attributes:
    head: GLB file of affjax fit or affjax reconstruct, or another with named morph
      targets.
    performance: Recording, a .json or .csv file.
    out: Write this file.
    fps: Play so many frames a second instead of what the recording says; 0 keeps that.
    overwrite: Replace the file if it exists.
  """

  head: Annotated[Positional[pathlib.Path], arg(metavar="HEAD")]
  performance: Annotated[Positional[pathlib.Path], arg(metavar="RECORDING")]
  out: Annotated[pathlib.Path | None, arg(aliases=["-o"], metavar="FILE")] = None
  fps: float = 0.0
  overwrite: bool = False

  def run(self) -> None:
    """Runs the command."""
    from affjax import files
    from affjax.export import animated_glb, read_performance, target_names

    performance = read_performance(self.performance, fps=self.fps or None)
    name = self.performance.stem
    out = self.out or self.head.with_name(f"{self.head.stem}-{name}.glb")
    if not out.parent.is_dir():
      raise ValueError(f"output {str(out)!r}: no such folder")
    if out.exists() and not self.overwrite:
      raise ValueError(f"{str(out)!r} exists; add --overwrite to replace it")
    try:
      content = self.head.read_bytes()
      moved = animated_glb(content, performance, name=name)
    except OSError as error:
      raise ValueError(f"head {str(self.head)!r}: {error.strerror}") from None
    except ValueError as error:
      raise ValueError(f"head {str(self.head)!r}: {error}") from None
    files.write_file(out, moved)
    if missing := set(performance.names) - set(target_names(content)):
      names = _console.escaped(", ".join(sorted(missing)))
      _console.ERR.print(f"note: the head has no morph target for {names}")
    if clipped := int(((performance.weights < 0) | (performance.weights > 1)).sum()):
      weights = _console.count(clipped, "weight")
      _console.ERR.print(f"note: {weights} outside of 0 to 1 limited to it")
    frames = _console.count(len(performance.times), "frame")
    seconds = f"{performance.times[-1]:.2f} s"
    _console.OUT.print(_console.escaped(f"{frames}, {seconds}: {out}"))
