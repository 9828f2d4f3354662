"""Compiled programs in the cache: what is kept, and when it is loaded."""

import os
import pathlib
import subprocess
import sys
import threading
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import compilation
from affjax.compilation import _folder, _programs
from affjax.native import dispatch
from affjax.types import Camera

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path, monkeypatch):
  """A folder in which functions of `saved` keep their programs."""
  monkeypatch.setattr(_programs, "_place", tmp_path)
  return tmp_path


def _scaled(traced: list[int]):
  """A new function, as a new process would define it, which notes that it is traced."""

  def scaled(x, tree, *, camera, names=("a",)):
    traced.append(1)
    return {"x": x * camera.distance, "sum": sum(tree[name].sum() for name in names)}

  return compilation.saved(static_argnames=("camera", "names"))(scaled)


X, TREE = np.arange(6, dtype=np.float32), {"a": np.ones(3, np.float32)}


def test_a_later_process_loads_what_an_earlier_one_traced(place):
  traced = []
  first = _scaled(traced)(X, TREE, camera=Camera())
  assert traced == [1]
  assert len(list(place.iterdir())) == 1
  later = _scaled(traced)
  for _ in range(2):
    found = later(X, TREE, camera=Camera())
  assert traced == [1]
  np.testing.assert_array_equal(found["x"], X * Camera().distance)
  np.testing.assert_array_equal(found["x"], first["x"])
  assert float(found["sum"]) == 3


@pytest.mark.parametrize(
  ("args", "static"),
  [
    ((X[:5], TREE), {}),
    ((X.astype(np.int32), TREE), {}),
    ((X, {"a": np.ones(4, np.float32)}), {}),
    ((X, TREE), {"camera": Camera(distance=12.0)}),
    ((X, {**TREE, "b": X}), {"names": ("a", "b")}),
  ],
)
def test_other_shapes_types_and_static_values_are_other_programs(place, args, static):
  traced = []
  _scaled(traced)(X, TREE, camera=Camera())
  found = _scaled(traced)(*args, **{"camera": Camera(), **static})
  assert len(traced) == 2
  distance = static.get("camera", Camera()).distance
  np.testing.assert_allclose(found["x"], args[0] * distance)


def test_settings_of_jax_are_part_of_the_key(place):
  traced = []
  with jax.enable_x64(True):
    found = _scaled(traced)(X.astype(np.float64), TREE, camera=Camera())
    assert found["x"].dtype == np.float64
  found = _scaled(traced)(X.astype(np.float64), TREE, camera=Camera())
  assert found["x"].dtype == np.float32
  with jax.default_matmul_precision("highest"):
    _scaled(traced)(X, TREE, camera=Camera())
  assert len(traced) == 3


def test_changed_sources_and_kernels_are_other_programs(place, monkeypatch):
  traced = []
  _scaled(traced)(X, TREE, camera=Camera())
  monkeypatch.setattr(_programs, "_code", lambda: "other sources")
  _scaled(traced)(X, TREE, camera=Camera())
  assert len(traced) == 2


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:40], lambda c: b""])
def test_a_damaged_program_is_made_anew(place, damage):
  traced = []
  _scaled(traced)(X, TREE, camera=Camera())
  (path,) = place.iterdir()
  whole = path.read_bytes()
  path.write_bytes(damage(whole))
  _scaled(traced)(X, TREE, camera=Camera())
  assert traced == [1, 1]
  _scaled(traced)(X, TREE, camera=Camera())
  assert traced == [1, 1]


def test_a_full_disk_costs_time_only(place, monkeypatch):
  def fails(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("affjax.files.write_file", fails)
  found = _scaled([])(X, TREE, camera=Camera())
  assert float(found["sum"]) == 3
  assert not list(place.iterdir())


def test_inside_another_program_it_is_an_ordinary_function(place):
  function = _scaled([])
  value, gradient = jax.value_and_grad(
    lambda x: function(x, TREE, camera=Camera())["x"].sum()
  )(jnp.asarray(X))
  assert float(value) == X.sum() * Camera().distance
  np.testing.assert_array_equal(gradient, np.full(6, Camera().distance, np.float32))
  assert not list(place.iterdir())


def test_functions_must_name_their_arguments():
  with pytest.raises(TypeError, match="must name all of its arguments"):
    compilation.saved()(lambda *rows: rows)


def test_threads_that_need_the_same_program_make_it_once(place):
  traced, function = [], None
  function = _scaled(traced)
  call = lambda: function(X, TREE, camera=Camera())
  threads = [threading.Thread(target=call) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert traced == [1]


def test_a_program_with_a_kernel_is_loaded_with_its_library(place):
  if not dispatch.ready_platforms("rasterizer"):
    pytest.skip("no C++ compiler")
  from affjax.render import rasterize

  faces = np.int32([[0, 1, 2]])
  clip = np.float32([[[-1, -1, 0, 1], [1, -1, 0, 1], [0, 1, 0, 1]]])
  drawn = lambda clip: rasterize(clip, faces, (8, 8))
  save = compilation.saved(kernels=("rasterizer",))
  first, later = (np.asarray(save(drawn)(clip)) for _ in range(2))
  np.testing.assert_array_equal(first, later)
  np.testing.assert_array_equal(first, np.asarray(jax.jit(drawn)(clip)))
  assert len(list(place.iterdir())) == 1


PROGRAM = """
import jax, os, stat
from affjax import compilation
before = jax.config.jax_compilation_cache_dir
folder = compilation.enable()
print(before, folder, jax.config.jax_compilation_cache_dir, sep="|")
if folder is not None:
  jax.jit(lambda x: x + 1)(1.0)
"""


def _process(tmp_path, **changes):
  """What a process with its own cache folder says, and its messages."""
  environment = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith(("JAX_", "AFFJAX_", "XLA_"))
  }
  environment |= {"AFFJAX_CACHE_DIR": str(tmp_path), "JAX_PLATFORMS": "cpu", **changes}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    env=environment,
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip().split("|"), done.stderr


def test_the_cache_is_private_and_used(tmp_path):
  (before, folder, used), messages = _process(tmp_path)
  assert before == "None"
  assert not messages
  assert pathlib.Path(folder).parent == tmp_path / "compiled"
  assert used == str(pathlib.Path(folder) / "executables")
  assert list(pathlib.Path(used).glob("jit__lambda*-cache"))
  for path in (tmp_path / "compiled", pathlib.Path(folder), pathlib.Path(used)):
    assert path.stat().st_mode & 0o777 == 0o700


def test_the_switch_turns_it_off(tmp_path):
  (_, folder, used), messages = _process(tmp_path, AFFJAX_COMPILATION_CACHE="0")
  assert (folder, used, messages) == ("None", "None", "")
  assert not list(tmp_path.iterdir())


def test_the_users_own_folder_wins(tmp_path):
  own = str(tmp_path / "own")
  (before, folder, used), messages = _process(tmp_path, JAX_COMPILATION_CACHE_DIR=own)
  assert before == used == own
  assert folder != "None"
  assert not messages


def test_a_folder_that_others_can_write_is_refused(tmp_path):
  (tmp_path / "compiled").mkdir()
  (tmp_path / "compiled").chmod(0o777)
  (_, folder, used), messages = _process(tmp_path)
  assert (folder, used) == ("None", "None")
  (line,) = messages.splitlines()
  assert line.startswith("note: compiled programs are not kept: ")
  assert "can be written by others" in line


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path))
  monkeypatch.setenv("AFFJAX_COMPILATION_CACHE", "1")
  mine = os.getuid()
  monkeypatch.setattr(os, "getuid", lambda: mine + 1)
  assert _folder.enable.__wrapped__() is None
  assert "not kept" in capsys.readouterr().err


def test_torn_and_unused_files_are_removed(tmp_path, monkeypatch):
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path))
  folder = _folder._folder()
  executables = folder / "executables"
  whole = zlib.compress(b"a program" * 100)
  for name, content in (("whole", whole), ("torn", whole[:-3]), ("empty", b"")):
    (executables / f"{name}-cache").write_bytes(content)
  _folder._remove_torn(executables)
  assert [path.name for path in executables.glob("*-cache")] == ["whole-cache"]
  stale = tmp_path / "compiled" / "0123456789abcdef"
  stale.mkdir()
  (folder / "programs" / "old").write_bytes(b"")
  for path in (stale, folder / "programs" / "old"):
    os.utime(path, (0, 0))
  assert _folder._folder() == folder
  assert not stale.exists()
  assert not (folder / "programs" / "old").exists()


def test_other_kernels_are_another_folder(monkeypatch, tmp_path):
  before = _folder._key()
  (tmp_path / "rasterizer.cc").write_text("other")
  monkeypatch.setattr("affjax.native.compilers.SOURCES", tmp_path)
  assert _folder._key() != before
