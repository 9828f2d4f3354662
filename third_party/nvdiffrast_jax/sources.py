"""The location of the user's nvdiffrast, and the source files of its CUDA core."""

import importlib.util
import os
import pathlib
from typing import NoReturn

VARIABLE = "NVDIFFRAST_ROOT"

_HOW = (
  "Install it (pip install 'affjax[nvdiffrast]', or pip install diffrp-nvdiffrast), or "
  f"clone https://github.com/NVlabs/nvdiffrast and set {VARIABLE} to the clone. Its "
  "license allows non-commercial use only."
)
# A release has its CUDA core in the package; the repository, since 0.4, beside it.
_PLACES = ("nvdiffrast/common", "csrc/common", "common")
_MARK = "cudaraster/CudaRaster.hpp"
_CORE = ("*.cu", "cudaraster/impl/*.cu", "cudaraster/impl/*.cpp")
_HEADERS = ("*.h", "cudaraster/*.hpp", "cudaraster/impl/*.hpp", "cudaraster/impl/*.inl")


class NotInstalledError(ImportError):
  """nvdiffrast is not installed; the message says how to install it."""


def find() -> pathlib.Path:
  """Returns the folder of nvdiffrast's CUDA core, in NVDIFFRAST_ROOT or as installed.

  No code of nvdiffrast is imported.

  Raises:
    NotInstalledError: nvdiffrast is not found.
  """
  root = os.environ.get(VARIABLE)
  if root:
    return _core_of([pathlib.Path(root)], f"{VARIABLE}={root} holds no CUDA core of it")
  try:
    spec = importlib.util.find_spec("nvdiffrast")
  except (ImportError, ValueError):
    spec = None
  if spec is None or not spec.submodule_search_locations:
    _absent("it is not installed")
  folders = [pathlib.Path(place) for place in spec.submodule_search_locations]
  return _core_of(folders, f"the installed one ({folders[0]}) ships no CUDA sources")


def compiled(core: pathlib.Path) -> list[pathlib.Path]:
  """Returns the sources to compile: kernels and CudaRaster's host code, not OpenGL."""
  return _matching(core, _CORE)


def included(core: pathlib.Path) -> list[pathlib.Path]:
  """Returns the headers that those sources include."""
  return _matching(core, _HEADERS)


def _core_of(roots: list[pathlib.Path], complaint: str) -> pathlib.Path:
  for root in roots:
    for place in (*_PLACES, "."):
      if (root / place / _MARK).is_file():
        return (root / place).resolve()
  _absent(complaint)


def _absent(complaint: str) -> NoReturn:
  raise NotInstalledError(f"backend 'nvdiffrast' needs nvdiffrast: {complaint}. {_HOW}")


def _matching(core: pathlib.Path, patterns: tuple[str, ...]) -> list[pathlib.Path]:
  return sorted(path for pattern in patterns for path in core.glob(pattern))
