"""The way to nvdiffrast, for those who brought it (`third_party/nvdiffrast_jax`)."""

import importlib
import types

NAME = "nvdiffrast"

# As a checkout of affjax holds the adapter, and as an installed one ships it.
_ADAPTERS = ("third_party.nvdiffrast_jax", "nvdiffrast_jax")


def wanted(backend: str, *ours: str) -> bool:
  """Whether a primitive is to be nvdiffrast's.

  Args:
    ours: names of the primitive's own backends.

  Raises:
    ValueError: an unknown backend.
  """
  if backend not in (*ours, NAME):
    raise ValueError(f"backend must be one of {[*ours, NAME]}, got {backend!r}")
  return backend == NAME


def adapter() -> types.ModuleType:
  """The adapter, imported at the first call.

  Raises:
    ImportError: it was not installed.
  """
  for name in _ADAPTERS:
    try:
      return importlib.import_module(name)
    except ModuleNotFoundError as error:
      if error.name not in (name, name.split(".")[0]):
        raise
  raise ImportError(
    f"backend {NAME!r} needs affjax's adapter to it: pip install 'affjax[nvdiffrast]', "
    "or run in a checkout of affjax"
  )
