"""The task of the worker process: to make heads of an uploaded photo."""

import dataclasses
import functools
import io
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from affjax import bugs, compilation, pool
from affjax.assets import store
from affjax.export import (
  CARD_FOLDER,
  Card,
  Reconstruction,
  card_html,
  moves_script,
)
from affjax.photos import (
  Inputs,
  OutputOptions,
  PhotoReconstructor,
  results,
  stages_told_to,
  write_heads,
)

MOVES = f"{CARD_FOLDER}/moves.js"


def make_task(
  make: Callable[[], PhotoReconstructor], options: OutputOptions
) -> Callable[[Any, pool.Tell], Any]:
  """Returns the function that does the tasks of a worker process.

  It tells each stage of a photo as a list: the stage, the number of the face that it is
  about, and that of all faces.

  Args:
    make: Function that makes the reconstructor.
    options: Options of writing.
  """
  compilation.enable()
  return functools.partial(_done, make(), options)


def _done(
  method: PhotoReconstructor,
  options: OutputOptions,
  task: dict[str, str],
  tell: pool.Tell,
) -> dict[str, Any]:
  """Makes the heads of a photo; an empty task warms up."""
  if not task:
    return _warmed_up(method)
  with stages_told_to(lambda *stage: tell(stage)):
    return _reconstructed(method, options, task)


def _warmed_up(method: PhotoReconstructor) -> dict[str, Any]:
  """Reconstructs the embedded portrait, so that the first photo finds programs."""
  name = "astronaut.jpg"
  try:
    with Image.open(io.BytesIO(store.read_asset(name))) as portrait:
      method.heads_of(np.asarray(portrait.convert("RGB")), pathlib.Path(name))
  except Exception as error:
    # A photo will say what is wrong.
    bugs.show_traceback(error)
  return {}


def _reconstructed(
  method: PhotoReconstructor, options: OutputOptions, task: dict[str, str]
) -> dict[str, Any]:
  """Writes the heads of a photo, and removes the photo.

  Args:
    method: The reconstructor.
    options: Options of writing.
    task: The file of the photo (`photo`), the folder to write (`out`), the archive of
      it (`archive`), and the address of the results on the page (`address`).

  Returns:
    Of a photo with heads: `folder` below `out`, the cards of the heads as `cards`,
    number of `unsure` heads, `bytes` of all files. Otherwise the `reason`.
  """
  photo, out = pathlib.Path(task["photo"]), pathlib.Path(task["out"])
  try:
    out.mkdir()
    remembering = _Remembering(method)
    report = write_heads(Inputs((photo,), {}, 0), out, remembering, options)
    if report.page is None:
      return {"reason": next(iter(report.problems.values()))}
    (result,) = results(out)
    _write_moves(remembering.heads, out / result.folder)
    _write_archive(out, pathlib.Path(task["archive"]))
    cards = result.cards(out)
    return {
      "folder": result.folder,
      "cards": [_html(card, k, task["address"]) for k, card in enumerate(cards, 1)],
      "unsure": result.unsure,
      "bytes": sum(p.stat().st_size for p in out.parent.rglob("*") if p.is_file()),
    }
  except Exception as error:
    # Whatever happens to a photo, the process goes on with the next one.
    bugs.show_traceback(error)
    return {"reason": bugs.reason(error)}
  finally:
    photo.unlink(missing_ok=True)


@dataclasses.dataclass
class _Remembering:
  """A reconstructor that remembers the heads of the last photo.

  Attributes:
    method: The reconstructor that makes them.
    heads: The heads.
  """

  method: PhotoReconstructor
  heads: list[Reconstruction] = dataclasses.field(default_factory=list)

  @property
  def about(self) -> str:
    """A phrase for the page that names the method."""
    return self.method.about

  def heads_of(
    self, pixels: UInt8[np.ndarray, "h w 3"], path: pathlib.Path
  ) -> list[Reconstruction]:
    """Returns the heads of a photo, largest face first."""
    self.heads = self.method.heads_of(pixels, path)
    return self.heads


def _write_moves(heads: list[Reconstruction], folder: pathlib.Path) -> None:
  """Writes the expression units of the heads for the viewer."""
  for k, head in enumerate(heads, start=1):
    if script := moves_script(head):
      (folder / f"face{k}" / MOVES).write_text(script)


def _write_archive(folder: pathlib.Path, archive: pathlib.Path) -> None:
  """Writes an archive of a folder, without what only the app's page needs."""
  with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
    for path in sorted(folder.rglob("*")):
      if path.is_file() and not path.match(MOVES):
        file.write(path, path.relative_to(folder))


def _html(card: Card, number: int, address: str) -> str:
  """Returns a card whose links lead to the addresses of the app."""
  moved = dataclasses.replace(card, folder=f"{address}/face{number}")
  return card_html(moved, titled=True)
