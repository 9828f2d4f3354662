"""Tests of each provider of geometry, from photos to a data set."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax import pool
from affjax.assets import store
from affjax.data import (
  PreparedSource,
  PrepareOptions,
  PrepareRun,
  SyntheticFaces,
  prepare,
)
from affjax.geometry import uv
from affjax.heads import _bfm, open_head
from tests.heads.test_open_head import write_obj

ALL_TRAIN = "1,0,0"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Writes the astronaut, her mirror image and a rotated copy."""
  folder = tmp_path_factory.mktemp("photos")
  (folder / "b").mkdir()
  (folder / "a.jpg").write_bytes(store.read_asset("astronaut.jpg"))
  with Image.open(folder / "a.jpg") as photo:
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "b" / "c.png")
    photo.rotate(9).save(folder / "d.png")
  return folder


@pytest.fixture
def one_process(monkeypatch):
  """Work is done in this process, which keeps heads and compiled programs."""
  run = lambda make, tasks, *, workers: map(make(), tasks)
  monkeypatch.setattr(pool, "run", run)


def _prepared(photos, out, **given):
  """Returns the folder of the data set, and its summary."""
  options = PrepareOptions(size=64, splits=ALL_TRAIN, **given)
  report = prepare(str(photos), out, options, PrepareRun(workers=1))
  return report.folder, report.summary


def _records(folder, template):
  source = PreparedSource(folder, "train", template, size=64, map_size=64)
  return [source[k] for k in range(len(source))]


@pytest.mark.usefixtures("one_process")
def test_precomputed_meshes_and_position_maps_become_records(photos, tmp_path):
  """One photo has a mesh, one a position map, and one no file."""
  template = open_head("embedded").template
  results = tmp_path / "results"
  (results / "b").mkdir(parents=True)
  shape = template.vertices * np.array([1.05, 1, 1], np.float32)
  np.savez(results / "a.npz", vertices=shape)
  table = uv.uv_table(template, 256)
  position = uv.map_from_vertices(jnp.asarray(shape), table)
  np.save(results / "b" / "c.npy", np.asarray(position))
  given = {"provider": "precomputed", "geometry": results}
  folder, summary = _prepared(photos, tmp_path / "out", **given)
  assert summary["skipped"] == {"no geometry": 1}
  assert "no file 'd'" in summary["skipped_names"][0]["reason"]
  mesh, position = _records(folder, template)
  np.testing.assert_allclose(mesh["vertices"], shape, atol=6e-5)
  assert np.median(np.abs(position["vertices"] - shape)) < 3e-3
  # The files determine the records: changed files make another data set.
  np.savez(results / "a.npz", vertices=shape * 1.01)
  with pytest.raises(ValueError, match="made with other photos or options"):
    _prepared(photos, tmp_path / "out", **given)


@pytest.mark.usefixtures("one_process")
def test_template_may_be_any_obj_with_uvs(photos, tmp_path):
  path, _ = write_obj(tmp_path / "person.obj", open_head("embedded").template.vertices)
  given = {"template": str(path), "limit": 1}
  folder, summary = _prepared(photos, tmp_path / "out", **given)
  assert (summary["kept"], summary["plan"]["template"]) == (1, "person")
  template = open_head(path).template
  (record,) = _records(folder, template)
  assert record["vertices"].shape == template.vertices.shape
  assert np.abs(record["vertices"] - template.vertices).max() < 0.5
  count = len(template.vertices)
  with pytest.raises(ValueError, match=rf"'person' of {count} .* 'embedded' of 5449"):
    _records(folder, open_head("embedded").template)


@pytest.mark.slow  # the painter is compiled in two processes
def test_synthetic_photos_keep_their_exact_geometry(tmp_path):
  folder, summary = _prepared("synthetic:5", tmp_path, provider="synthetic", seed=3)
  assert (summary["photos"], summary["kept"]) == (5, 5)
  head = open_head("embedded")
  painted = SyntheticFaces(head, 5, 64, seed=3)
  records = _records(folder, head.template)
  for k, record in enumerate(records):
    true = painted[k]
    np.testing.assert_allclose(record["vertices"], true["vertices"], atol=6e-5)
    np.testing.assert_array_equal(record["pose"], true["pose"])
    np.testing.assert_array_equal(record["visible"], true["visible"])
    np.testing.assert_array_equal(record["diffuse"], true["diffuse"])
    assert record["has_diffuse"] == record["has_pose"] == 1


@pytest.fixture(scope="module")
def deep3d_files(tmp_path_factory):
  pytest.importorskip("torch", reason="PyTorch writes the weights: pip install torch")
  from tests.data import fake_deep3d

  folder = tmp_path_factory.mktemp("deep3d")
  return {
    "provider": "deep3d",
    "model": fake_deep3d.write_model(folder / "BFM_model_front.mat"),
    "weights": fake_deep3d.write_weights(folder / "epoch_20.pth"),
  }


@pytest.mark.slow  # a ResNet-50 is compiled in a process of its own
def test_deep3d_keeps_the_bfm_which_no_other_reader_takes(
  photos, tmp_path, deep3d_files
):
  from tests.data import fake_deep3d

  own = {**deep3d_files, "template": str(deep3d_files["model"])}
  folder, summary = _prepared(photos, tmp_path / "own", **own)
  assert summary["kept"] == 3
  ours, model = open_head("embedded").template, _bfm.load_2009(deep3d_files["model"])
  with pytest.raises(ValueError, match=r"'bfm2009' of 35709 .* 'embedded' of 5449"):
    _records(folder, ours)
  wide = model.template.vertices + fake_deep3d.IDENTITY * fake_deep3d.wider()
  for record in _records(folder, model.template):
    off = np.abs(record["vertices"] - wide)
    assert off.max() < 0.02
  assert 0 < summary["median_error"] < 8


@pytest.mark.slow  # as above
def test_deep3d_is_carried_to_our_template(photos, tmp_path, deep3d_files):
  from tests.data import fake_deep3d

  ours = open_head("embedded").template
  folder, summary = _prepared(photos, tmp_path, **deep3d_files)
  assert summary["plan"]["geometry"]["weights_sha256"]
  mean = ours.vertices * [1 + 0.02 * fake_deep3d.IDENTITY, 1, 1]
  front = (ours.vertices[:, 2] > 0.4) & (np.abs(ours.vertices[:, 1]) < 0.5)
  for record in _records(folder, ours):
    off = np.linalg.norm(record["vertices"] - mean, axis=-1)
    assert np.median(off[front]) < 0.03
  assert (summary["kept"], summary["plan"]["template"]) == (3, "embedded")
