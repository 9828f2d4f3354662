"""From photos to heads: `gather` photos, then `fit_photos` or `reconstruct_photos`.

Both write the same files and pages through `write_heads`, which takes any
`PhotoReconstructor`; `write_pages` makes the pages again from the files. The options
import no JAX; the rest of the package is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from affjax.photos._inputs import Inputs, gather
from affjax.photos._options import (
  FitOptions,
  OutputOptions,
  Progress,
  ReconstructOptions,
)

if TYPE_CHECKING:
  from affjax.photos._by_fit import FitReconstructor
  from affjax.photos._by_networks import (
    NetworkReconstructor,
    TrainedNetworks,
    reconstruct_photos,
  )
  from affjax.photos._fit_photos import fit_photos
  from affjax.photos._output import Report, write_heads
  from affjax.photos._results import Result, results, write_pages
  from affjax.photos._stages import STAGES, enter_stage, stages_told_to
  from affjax.photos._video_file import Clip, ClipError, ClipWriter
  from affjax.photos._writer import PhotoReconstructor, Written

__all__ = [
  "STAGES",
  "Clip",
  "ClipError",
  "ClipWriter",
  "FitOptions",
  "FitReconstructor",
  "Inputs",
  "NetworkReconstructor",
  "OutputOptions",
  "PhotoReconstructor",
  "Progress",
  "ReconstructOptions",
  "Report",
  "Result",
  "TrainedNetworks",
  "Written",
  "enter_stage",
  "fit_photos",
  "gather",
  "reconstruct_photos",
  "results",
  "stages_told_to",
  "write_heads",
  "write_pages",
]

# The networks come last: fitting needs nothing of them.
_LATER = (
  "_stages",
  "_by_fit",
  "_fit_photos",
  "_output",
  "_results",
  "_video_file",
  "_writer",
  "_by_networks",
)


def __getattr__(name: str) -> Any:
  """Imports what needs JAX on first use."""
  if name in __all__:
    for module in _LATER:
      found = vars(importlib.import_module(f"{__name__}.{module}"))
      if name in found:
        return found[name]
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
