"""The networks that come with the package."""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affjax import build
from affjax.assets import store
from affjax.data import SyntheticFaces
from affjax.geometry import uv
from affjax.types import Guide

NAMES = ("networks.json", "networks.safetensors")


@pytest.fixture(scope="module")
def run() -> build.Run:
  return build.load_run()


def test_they_are_whole_and_small(run):
  assert run.untrained == ()
  assert run.config.model.architecture == "guided"
  assert sum(len(store.read_asset(name)) for name in NAMES) < 25e6
  assert all(np.isfinite(value).all() for value in jax.tree.leaves(run.params))


def test_they_are_written_as_they_were_read(run, tmp_path):
  build.save_embedded(run, tmp_path)
  about, weights = NAMES
  assert (tmp_path / weights).read_bytes() == store.read_asset(weights)
  written = json.loads((tmp_path / about).read_text())
  shipped = json.loads(store.read_asset(about))
  # Options that are newer than the file have their defaults.
  config = ConfigDict(written["config"])
  config.update(shipped["config"])
  assert {**shipped, "config": config.to_dict()} == written


def test_a_file_of_other_networks_is_refused(run, monkeypatch):
  content = store.read_asset(NAMES[0]).replace(b'"guided"', b'"paper"')
  read = store.read_asset
  monkeypatch.setattr(
    store, "read_asset", lambda name: content if name == NAMES[0] else read(name)
  )
  with pytest.raises(ValueError, match="of another architecture"):
    build.load_run()


def test_there_is_no_best_one_among_them():
  with pytest.raises(ValueError, match="best chooses a checkpoint of a workdir"):
    build.load_run(best=True)


def test_they_take_the_light_out_of_the_photo(run):
  """The diffuse map is closer to the true one than the photo's own colors are."""
  size = run.config.model.size
  faces = SyntheticFaces(run.head, 3, size, seed=5, split="test", occluders=0.0)
  records = [faces[k] for k in range(3)]
  images = np.stack([r["image"] for r in records]).astype(np.float32) / 255
  true = {k: np.stack([r[k] for r in records]) for k in ("vertices", "diffuse", "pose")}
  guide = Guide(true["vertices"], true["pose"], np.ones(3, np.float32))
  predict = jax.jit(lambda params: run.reconstructor(params, images, guide=guide))
  trained, fresh = predict(run.params), predict(run.reconstructor.init(0))
  colors = true["diffuse"].astype(np.float32) / 255
  errors = [float(np.abs(p.diffuse - colors).mean()) for p in (trained, fresh)]
  assert errors[0] < 0.6 * errors[1]
  position = uv.map_from_vertices(true["vertices"], run.reconstructor.table)
  assert np.abs(np.asarray(trained.position - position)).mean() < 0.02
