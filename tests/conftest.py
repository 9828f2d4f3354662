"""Four CPU devices, strict broadcasting, and caches for everything that is compiled."""

import gc
import os
import pathlib
import sys
from importlib import metadata

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
  )
# The older of XLA's two emitters of loops compiles networks in half the time. Later
# versions have no such flag.
if metadata.version("jaxlib").startswith("0.10."):
  os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
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
# Tracing makes many objects that stay; looking for garbage took a seventh of its time.
gc.set_threshold(50_000)


# The files that take longest.
_LONGEST = (
  "tests/test_main.py",
  "tests/models/test_models_guided.py",
  "tests/train/test_scaling.py",
  "tests/photos/test_by_fit.py",
  "tests/data/test_prepare.py",
  "tests/data/test_prepare_hostile.py",
  "tests/models/test_models_reconstructor.py",
  "tests/train/test_train_step.py",
  "tests/photos/test_clip.py",
  "tests/faces/test_faces_regions.py",
  "tests/test_build.py",
  "tests/heads/test_open_head.py",
  "tests/ops/test_affine_conv_native.py",
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
  "tests/faces",
  "tests/heads",
  "tests/losses",
  "tests/models",
  "tests/nn",
  "tests/photos",
  "tests/render",
  "tests/test_build.py",
  "tests/test_embedded_networks.py",
  "tests/test_main.py",
  "tests/train",
)
# A file in those folders whose programs run long: it finds faces in large photos.
_NOT_BRIEF = ("tests/data/test_prepare_hostile.py",)


@pytest.fixture(autouse=True, scope="module")
def barely_optimized(request):
  """Compiles the programs of brief tests, and of what they start, with less work."""
  name = request.node.nodeid
  if not name.startswith(_BRIEF) or name.startswith(_NOT_BRIEF):
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
