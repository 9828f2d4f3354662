"""The stage "unsup3d" from a config: training, resuming, loading, refusals."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from affjax import build
from affjax.train import loop

SIZE = 16
CHANGES = {
  "model.size": SIZE,
  "model.unsup3d.width": 8,
  "model.unsup3d.code": 8,
  "model.unsup3d.vector_width": 4,
  "mesh.data": 1,
  "data.source": "folder",
  "data.batch_size": 4,
  "data.held_out": 2,
  "data.threads": 1,
  "features.layers": (5,),
  "optimizer.learning_rate": 2e-3,
  "log.every": 2,
  "log.tensorboard": False,
  "checkpoint.every": 10,
}


def config_of(folder, **changes):
  """The smallest config of Unsup3D."""
  config = build.get_config("unsup3d")
  named = {name.replace("__", "."): value for name, value in changes.items()}
  with config.unlocked():
    config.update_from_flattened_dict({**CHANGES, "data.path": str(folder), **named})
  return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Photos without any ground truth: a bright disk that lies somewhere."""
  root = tmp_path_factory.mktemp("photos")
  columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
  for index in range(6):
    random = np.random.default_rng(index)
    x, y = random.uniform(6, 9, 2)
    disk = ((columns - x) ** 2 + (rows - y) ** 2 < 20)[..., None]
    colors = np.where(disk, random.integers(150, 255, 3), random.integers(0, 90, 3))
    Image.fromarray(colors.astype(np.uint8)).save(root / f"{index}.png")
  return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
  """A workdir after ten steps."""
  root = tmp_path_factory.mktemp("run")
  outcome = loop.run(build.task(config_of(folder, steps=10), root))
  assert outcome.finished
  assert outcome.step == 10
  return root


def test_a_few_steps_lower_the_loss(run):
  summary = json.loads((run / "unsup3d" / "summary.json").read_text())
  before, after = summary["eval_before"], summary["eval_after"]
  assert set(before) == {
    "total",
    "unsup3d_l1",
    "unsup3d_mirrored_l1",
    "unsup3d_perceptual",
    "unsup3d_mirrored_perceptual",
  }
  assert after["total"] < before["total"] - 0.1
  parts = [after[name] for name in sorted(after) if name != "total"]
  l1, mirrored, mirrored_features, features = parts
  assert after["total"] == pytest.approx(
    l1 + 0.5 * mirrored + features + 0.5 * mirrored_features, rel=1e-4
  )


def test_pictures_show_the_scene(run):
  sheets = sorted(path.name for path in (run / "pictures").iterdir())
  assert sheets == ["unsup3d_000000.png", "unsup3d_000010.png"]
  # Photo, two renders, canonical view, albedo, depth, shape, confidence.
  assert Image.open(run / "pictures" / sheets[0]).width == 8 * 128


def test_a_run_is_continued(run, folder):
  task = build.task(config_of(folder, steps=20), run)
  task.lock.release()
  assert task.start.state.step == 10
  assert set(task.start.trained) == {"depth", "albedo", "view", "light", "confidence"}


def test_trained_networks_are_loaded(run, folder):
  found = build.load_unsup3d(run)
  assert found.step == 10
  photos = np.stack([np.asarray(Image.open(folder / "0.png"))]) / np.float32(255)
  scene = jax.jit(found.model.__call__)(found.params, photos)
  assert np.isfinite(scene.render).all()
  assert scene.depth.shape == (2, 1, SIZE, SIZE)


def test_a_head_is_not_made_of_unsup3d(run, tmp_path):
  with pytest.raises(ValueError, match="networks of Unsup3D, which make no heads"):
    build.load_run(run)
  with pytest.raises(ValueError, match="holds no weights of Unsup3D: train it first"):
    build.load_unsup3d(tmp_path)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model__size": 48}, "size must be a power of two"),
    ({"dtype": "bfloat16"}, "config.dtype must be float32 for unsup3d"),
    ({"log__shapes_every": 5}, "config.log.shapes_every must be 0 for unsup3d"),
    ({"features__layers": (1, 3)}, "config.features.layers must be one of 5, 6 and 7"),
    ({"model__unsup3d__code": 7}, "config.model.unsup3d: code must be even"),
  ],
)
def test_impossible_configs_are_refused_in_one_line(folder, tmp_path, changes, message):
  with pytest.raises(build.UserError, match=message) as caught:
    build.task(config_of(folder, **changes), tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run").exists()


def test_the_configs_have_the_published_settings():
  original, affine = (build.get_config(f"unsup3d:{v}") for v in ("original", "affine"))
  assert affine.model.unsup3d.affine
  assert not original.model.unsup3d.affine
  with affine.unlocked():
    affine.model.unsup3d.affine = False
  assert original.to_dict() == affine.to_dict()
  options = build.read_config(original)
  assert (options.model.size, options.data.batch_size) == (64, 64)
  model = options.model.unsup3d
  assert (model.nearest, model.farthest, model.rotation_deg) == (0.9, 1.1, 60)
  assert (model.translation_xy, model.translation_z) == (0.1, 0)
  adam = options.optimizer
  assert (adam.learning_rate, adam.weight_decay, adam.clip_norm) == (1e-4, 5e-4, 0)
  stage = build.stage(original)
  assert stage.epochs == 30
  weights = {name: stage.weights[name] for name in stage.weights.active}
  assert weights == {
    "unsup3d_l1": 1.0,
    "unsup3d_mirrored_l1": 0.5,
    "unsup3d_perceptual": 1.0,
    "unsup3d_mirrored_perceptual": 0.5,
  }
