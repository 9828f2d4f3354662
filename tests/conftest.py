"""Four CPU devices, strict broadcasting, and one compilation cache for the session."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
  )
# Subprocess tests inherit the cache: a program is compiled once for the whole suite.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"),
)
os.environ.setdefault("AFFJAX_COMPILATION_CACHE", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Shapes and types of annotated functions are checked while the tests run.
if os.environ.get("AFFJAX_CHECK_SHAPES", "1") == "1":
  import jaxtyping

  from tests import typechecker  # noqa: F401

  jaxtyping.install_import_hook("affjax", "tests.typechecker.typechecker")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def unchecked_shapes(monkeypatch):
  """Turns the shape checker off: the test passes wrong arguments on purpose."""
  monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
