"""Small heads, in the file formats of the owners of head models."""

import functools
import json
import struct
import sys
import types

import numpy as np
import scipy.io
import scipy.spatial


@functools.cache
def ball(count, centre=(0.0, 0.0, 0.0), radius=1.0):
  """Points on a sphere, and outward triangles between them."""
  step = np.arange(count) + 0.5
  up = 1 - 2 * step / count
  turn = np.pi * (1 + 5**0.5) * step
  across = np.sqrt(1 - up**2)
  points = np.stack([across * np.sin(turn), up, across * np.cos(turn)], -1)
  faces = scipy.spatial.ConvexHull(points).simplices.astype(np.int64)
  a, b, c = (points[faces[:, k]] for k in range(3))
  inward = (np.cross(b - a, c - a) * a).sum(-1) < 0
  faces[inward] = faces[inward][:, ::-1]
  return points * radius + centre, faces


def nearest(points, places):
  """Indices of the points nearest to some positions."""
  return np.array([np.argmin(((points - place) ** 2).sum(-1)) for place in places])


RIGHT_AND_LEFT_EYE = np.array([[-0.45, 0.3, 0.84], [0.45, 0.3, 0.84]])


def flame():
  """The arrays of FLAME's file, meters: a ball and two eyeballs."""
  parts = [ball(3931), ball(546, (0.31, 0.3, 0.8), 0.12)]
  parts.append(ball(546, (-0.31, 0.3, 0.8), 0.12))
  starts = (0, 3931, 4477)
  points = np.concatenate([points for points, _ in parts]) / 10
  faces = np.concatenate(
    [faces + start for (_, faces), start in zip(parts, starts, strict=True)]
  )
  shapes = np.zeros((5023, 3, 400), np.float32)
  shapes[:, 1, 0] = 0.004  # the first person is higher
  shapes[:3931, 0, 300] = 0.01  # the first expression moves the skin aside
  return {"v_template": points, "shapedirs": shapes, "f": faces.astype(np.uint32)}


def chumpy_module(monkeypatch):
  """A stand-in for chumpy, so that its `Ch` can be pickled."""

  class Ch:
    def __init__(self, x):
      self.x = x
      self._dirty_vars = {"x"}

  Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
  module = types.ModuleType("chumpy.ch")
  module.Ch = Ch
  monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
  monkeypatch.setitem(sys.modules, "chumpy.ch", module)
  return Ch


def deep3d():
  """The content of `BFM_model_front.mat`, with few modes and inward triangles."""
  points, faces = ball(35709)
  ids = nearest(points, [*[(0, 0, 1)] * 36, *RIGHT_AND_LEFT_EYE])
  keypoints = np.zeros(68, int)
  keypoints[36], keypoints[45] = ids[36], ids[37]
  return {
    "meanshape": (points + 0.2).reshape(1, -1).astype(np.float32),
    "idBase": np.full((points.size, 2), 0.01, np.float32),
    "exBase": np.full((points.size, 3), 0.02, np.float32),
    "tri": (faces[:, ::-1] + 1).astype(np.float64),
    "keypoints": (keypoints + 1).reshape(1, -1),
  }


def write_deep3d(path, **changes):
  scipy.io.savemat(path, deep3d() | changes)
  return path


def bfm2017(count=400):
  """The content of `model2017-1_bfm_nomouth.h5`, mm, by HDF5 path."""
  points, faces = ball(count, radius=100.0)
  basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3 * count, 2)))[0]
  corners = dict(zip(("right", "left"), RIGHT_AND_LEFT_EYE * 100, strict=True))
  marks = [
    {"id": f"{side}.eye.corner_outer", "coordinates": place.tolist()}
    for side, place in corners.items()
  ]
  model = {"pcaBasis": basis, "pcaVariance": np.array([400.0, 100.0])}
  return {
    "shape/model/mean": points.reshape(-1),
    "expression/model/mean": np.full(3 * count, 2.0),
    **{f"shape/model/{key}": value for key, value in model.items()},
    **{f"expression/model/{key}": value for key, value in model.items()},
    "shape/representer/cells": faces.T.astype(np.int32),
    "metadata/landmarks/json": json.dumps(marks),
  }  # fmt: skip


def write_h5(path, content):
  import h5py

  with h5py.File(path, "w") as file:
    for name, value in content.items():
      file[name] = [value] if isinstance(value, str) else value
  return path


def _matrix(values):
  values = np.asarray(values, "<f4")
  values = values.reshape(len(values), -1 if values.size else 0)
  return struct.pack("<ii", *values.shape) + values.tobytes("F")


def _rows(values, dtype):
  return struct.pack("<Q", len(values)) + np.asarray(values, dtype).tobytes()


def _text(text):
  return struct.pack("<Q", len(text)) + text.encode()


def surrey_ball():
  """A ball of 700 points, mm, whose points 177 and 610 are the eye corners."""
  points, faces = ball(700, radius=100.0)
  old, new = nearest(points, RIGHT_AND_LEFT_EYE * 100), np.array([177, 610])
  order = np.arange(700)
  for a, b in zip(old, new, strict=True):
    i, j = np.flatnonzero(order == a)[0], b
    order[[i, j]] = order[[j, i]]
  back = np.argsort(order)
  return points[order], back[faces]


def pca_bytes(mean, basis, variance, faces):
  """The bytes of a `PcaModel` of eos."""
  parts = [_matrix(mean), _matrix(basis), _matrix(variance), _rows(faces, "<i4")]
  return b"".join(parts)


def blendshape_bytes(count=700):
  """The bytes of a list of two `Blendshape`s of eos."""
  shapes = [_text(name) + _matrix(np.full(3 * count, 3.0)) for name in ("anger", "joy")]
  return struct.pack("<Q", 2) + b"".join(shapes)


def surrey_bytes(version=4, expressions=None, uvs=True, faces=None):
  """The bytes of a `MorphableModel` of eos."""
  points, triangles = surrey_ball()
  faces = triangles if faces is None else faces
  basis = np.linalg.qr(np.random.default_rng(0).normal(size=(2100, 2)))[0]
  uv = np.stack([points[:, 0] / 250 + 0.5, 0.5 - points[:, 1] / 250], -1)
  data = struct.pack("<I", version)
  data += pca_bytes(points.reshape(-1), basis, [400.0, 100.0], faces)
  data += pca_bytes(np.zeros(0), np.zeros((0, 0)), np.zeros(0), faces[:0])
  if version >= 2:
    data += b"\x01" if expressions is None else b"\x00" + expressions
  if version >= 3:
    data += b"\x00" + struct.pack("<Q", 1) + _text("nose") + struct.pack("<i", 5)
  data += _rows(uv if uvs else uv[:0], "<f8")
  if version == 4:
    data += _rows(faces[:0], "<i4")
  return data
