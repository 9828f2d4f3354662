"""A tiny benchmark set whose samples take no painting."""

import numpy as np
import pytest

from affjax import benchmark, pool
from affjax.benchmark import _judging, _samples
from affjax.heads import open_head, random_vertices


def painted(index: int) -> _samples.Encoded:
  """A gray photo of a random head."""
  model = open_head("embedded")
  rng = np.random.default_rng(index)
  vertices = random_vertices(rng, model, 1)[0]
  pose = np.array([0, rng.uniform(-0.6, 0.6), 0, 0, 0, 0], np.float32)
  skin = model.template.faces[model.template.face_groups == 0]
  tip = model.template.landmark_positions(vertices)[30]
  near = np.linalg.norm(vertices - tip, axis=-1) < 0.9
  near[np.setdiff1d(np.arange(len(near)), skin)] = False
  return _samples.encode(
    _samples.Sample(
      photo=np.full((64, 64, 3), 90 + index, np.uint8),
      visible=np.full((64, 64), 255, np.uint8),
      vertices=vertices,
      pose=pose,
      diffuse=np.full((32, 32, 3), 150, np.uint8),
      light=np.ones((4, 4, 1), np.float32),
      light_color=np.ones(3, np.float32),
      expression_mm=1.0,
      scan=vertices[near][::7],
    )
  )


@pytest.fixture
def painting(monkeypatch):
  """Painting replaced by `painted` in this process; records what was painted."""
  done = []

  def run(make, tasks, *, workers):
    for index in tasks:
      done.append(index)
      yield index, painted(index)

  monkeypatch.setattr(pool, "run", run)
  return done


@pytest.fixture
def small():
  return benchmark.recipe("embedded", count=6, size=64)


@pytest.fixture
def samples(painting, small, tmp_path):
  """A set of three samples."""
  return benchmark.make_set(small, tmp_path / "set", limit=3)


@pytest.fixture
def few_measures(monkeypatch):
  """Leaves out the measures that take seconds to compile."""
  names = ("position, similarity", "scan (NoW-like)", "rotation", "render L1")
  measured = _judging.measured
  monkeypatch.setattr(_judging, "measured", lambda cases, _: measured(cases, names))
