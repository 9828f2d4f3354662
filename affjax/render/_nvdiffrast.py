"""Access to nvdiffrast through `third_party/nvdiffrast_jax`, if it is installed."""

import importlib
import types

NAME = "nvdiffrast"

# The adapter's names in a checkout of affjax and in an installed affjax.
_ADAPTERS = ("third_party.nvdiffrast_jax", "nvdiffrast_jax")


def wanted(backend: str, *ours: str) -> bool:
  """Returns whether the backend of a primitive is nvdiffrast.

  Args:
    backend: The name that the user gave.
    *ours: Names of affjax's own backends for the primitive.

  Raises:
    ValueError: The backend is unknown.
  """
  if backend not in (*ours, NAME):
    raise ValueError(f"backend must be one of {[*ours, NAME]}, got {backend!r}")
  return backend == NAME


def adapter() -> types.ModuleType:
  """Imports the adapter.

  Raises:
    ImportError: The adapter is not installed.
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
