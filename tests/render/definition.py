"""Rasterization by its definition in `csrc/coverage.h`, compiled for the tests."""

import ctypes
import functools
import pathlib
import tempfile

import numpy as np

from affjax.native import compilers

_SOURCE = pathlib.Path(__file__).with_name("coverage_loop.cc")


@functools.cache
def _library() -> ctypes.CDLL:
  folder = tempfile.TemporaryDirectory()
  path = pathlib.Path(folder.name) / "coverage_loop.so"
  compilers.run(compilers.find("cpu"), _SOURCE, path)
  return ctypes.CDLL(str(path))


def rasterize(pos, tri, resolution) -> tuple[np.ndarray, np.ndarray]:
  """Ids and depths `[B, H, W]`: every triangle is tried at every pixel.

  Raises:
    compilers.CompileError: this machine has no C++ compiler.
  """
  pos = np.ascontiguousarray(pos, np.float32)
  tri = np.ascontiguousarray(tri, np.int32)
  shape = (pos.shape[0], *resolution)
  ids, depth = np.empty(shape, np.int32), np.empty(shape, np.float32)
  pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
  _library().rasterize_by_definition(
    pointer(pos),
    pointer(tri),
    pos.shape[0],
    pos.shape[1],
    len(tri),
    *resolution,
    pointer(ids),
    pointer(depth),
  )
  return ids, depth
