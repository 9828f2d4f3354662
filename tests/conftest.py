"""Four CPU devices, strict broadcasting, and caches for everything that is compiled."""

import os
import pathlib
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
  )
# Subprocess tests inherit the caches: modules and programs are compiled once for the
# whole suite, small programs included, of which there are thousands.
if sys.dont_write_bytecode:
  sys.dont_write_bytecode = False
  os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"),
)
os.environ.setdefault("AFFJAX_COMPILATION_CACHE", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Shapes and types of annotated functions are checked while the tests run.
if os.environ.get("AFFJAX_CHECK_SHAPES", "1") == "1":
  import jaxtyping

  from tests import typechecker

  typechecker.check_lazily()
  jaxtyping.install_import_hook("affjax", "tests.typechecker.typechecker")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


# The files that take longest.
_LONGEST = (
  "tests/test_main.py",
  "tests/train/test_train_loop.py",
  "tests/data/test_prepare.py",
  "tests/photos/test_by_fit.py",
  "tests/heads/test_open_head.py",
  "tests/ops/test_affine_conv_native.py",
  "tests/test_build.py",
  "tests/models/test_models_reconstructor.py",
  "tests/commands/test_commands.py",
  "tests/data/test_synthetic_faces.py",
)


# Files and folders whose programs run so briefly that optimizing them does not pay.
_BRIEF = (
  "tests/benchmark",
  "tests/commands",
  "tests/data",
  "tests/docs",
  "tests/eval",
  "tests/export",
  "tests/heads",
  "tests/models/test_models_reconstructor.py",
  "tests/models/test_unsup3d.py",
  "tests/photos",
  "tests/render",
  "tests/test_build.py",
  "tests/test_main.py",
  "tests/train",
)


@pytest.fixture(autouse=True, scope="module")
def barely_optimized(request):
  """Compiles the programs of brief tests, and of what they start, with less work."""
  if not request.node.nodeid.startswith(_BRIEF):
    yield
    return
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def pytest_collection_modifyitems(items: list[pytest.Item]):
  """Starts with the files that take longest, so that the processes end together."""
  place = {name: k for k, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: place.get(item.location[0], len(place)))


@pytest.fixture
def unchecked_shapes(monkeypatch):
  """Turns the shape checker off: the test passes wrong arguments on purpose."""
  monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
