"""Fits heads to the photos and videos that a user named."""

import functools
import pathlib
from collections.abc import Mapping

from affjax import compilation
from affjax.faces import Fit
from affjax.heads import open_head
from affjax.native import library
from affjax.photos._by_fit import FitReconstructor
from affjax.photos._clip import fit_clip
from affjax.photos._inputs import Inputs
from affjax.photos._options import FitOptions, Progress
from affjax.photos._output import Report, write_heads


def fit_photos(
  inputs: Inputs,
  out: pathlib.Path,
  options: FitOptions = FitOptions(),  # noqa: B008
  *,
  progress: Progress = lambda path, faces: None,
) -> Report:
  """Fits a head model to every face of photos and videos; writes files and the page.

  Args:
    inputs: Photos and videos, as `gather` returns them.
    out: An existing folder; see `affjax.export.prepared_folder`.
    options: Options of the fit and of writing.
    progress: Function that is called after each photo, with its path and the number of
      its faces.

  Raises:
    ValueError: The template cannot be read or fitted, or the page of the folder is not
      one of affjax.
  """
  reconstructor = _reconstructor(options, {})
  if options.same_person:
    reconstructor = reconstructor.of_one_person(inputs.photos)
  return write_heads(
    inputs,
    out,
    reconstructor,
    options,
    make=functools.partial(_made_again, options, dict(reconstructor.known)),
    clips=functools.partial(fit_clip, options=options),
    progress=progress,
  )


def _reconstructor(
  options: FitOptions, known: Mapping[pathlib.Path, Fit]
) -> FitReconstructor:
  """Returns the reconstructor that options ask for."""
  library.begin(("rasterizer", "conv"))
  return FitReconstructor(
    open_head(options.template),
    method=options.method,
    map_size=options.map_size,
    photometric=options.photometric,
    iris=options.iris,
    scalp=options.scalp,
    known=known,
  )


def _made_again(
  options: FitOptions, known: Mapping[pathlib.Path, Fit]
) -> FitReconstructor:
  """Returns the reconstructor in a worker process."""
  compilation.enable()
  return _reconstructor(options, known)
