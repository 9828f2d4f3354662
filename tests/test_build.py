"""Configs become parts; what is wrong with them is said in one line."""

import itertools
import json
import pathlib
import shutil
import tomllib

import jax
import numpy as np
import pytest

from affjax import build
from affjax.build import _configs
from affjax.losses import LossWeights
from affjax.train import loop, sharding, steps
from affjax.train.stages import STAGE_NAMES
from tests import tiny_config
from tests.train import hlo


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  return tiny_config.write_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
  """A workdir with two updates of stage 1, compared with the known shapes."""
  root = tmp_path_factory.mktemp("trained") / "a"
  config = tiny_config.config(
    "stage1", data__path=str(photos), steps=2, log__shapes_every=2
  )
  loop.run(build.task(config, root))
  return root


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_the_paper_s_numbers_are_the_defaults(name):
  config = build.get_config(name)
  epochs = {"stage1": 20, "stage2": 30, "stage3": 40}[name]
  assert build.stage(config).epochs == epochs
  assert config.model.size == 512
  options = config.optimizer
  assert (options.learning_rate, options.beta1, options.beta2) == (1e-3, 0.9, 0.999)
  discriminator = options.discriminator
  assert (discriminator.scale, discriminator.beta1, discriminator.beta2) == (
    0.1,
    0.5,
    0.9,
  )
  weights, paper = dict(config.loss), dict(LossWeights())
  del weights["pose_l1"], paper["pose_l1"]
  assert weights == paper
  assert config.data.source == "synthetic"
  assert build.stage(config).name == name


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_the_demo_has_every_stage_and_one_architecture(name):
  config = build.get_config(f"demo:{name}")
  assert build.stage(config).name == name
  assert config.model.to_dict() == build.get_config("demo").model.to_dict()
  assert build.reconstructor(config).networks.guided


def test_a_config_becomes_a_task(photos, tmp_path):
  config = tiny_config.config("stage2", data__path=str(photos), steps=0, epochs=2.0)
  config.init_from = str(tmp_path / "none")
  with pytest.raises(build.UserError, match="holds no checkpoint"):
    build.task(config, tmp_path / "a")
  config = tiny_config.config("stage1", data__path=str(photos), steps=0, epochs=2.0)
  task = build.task(config, tmp_path / "b")
  # Eight photos, two held out, batches of two, two epochs.
  assert task.plan.total_steps == 6
  assert task.feature_net is None
  assert task.meta["template"] == "embedded"
  assert len(task.held_out["image"]) == 2
  stored = json.loads((tmp_path / "b" / "config.json").read_text())
  assert stored["data"]["batch_size"] == 2


def test_slow_predictors_only_in_the_absolute_frame(photos, tmp_path):
  structure = []
  for name in ("paper", "paper_absolute"):
    config = tiny_config.config(
      "stage1", data__path=str(photos), model__architecture=name
    )
    task = build.task(config, tmp_path / name)
    structure.append(len(task.start.state.optimizer))
  assert structure[1] == structure[0] + 1


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("stage", "stage4", "stage1, stage2, stage3"),
    ("epochs", -1.0, "epochs"),
    (
      "dtype",
      "float16",
      "config.dtype must be one of float32, bfloat16, got 'float16'",
    ),
    ("affine_backend", "tpu", "config.affine_backend must be one of auto, .*xla, cpp"),
    ("mesh.data", 99, "config.mesh: data x model must fit"),
    ("data.batch_size", 0, "batch_size"),
    ("data.batch_size", 7, "config.data: batch_size must be at most the 6"),
    ("data.held_out", 0, "config.data: held_out"),
    ("data.source", "cloud", "config.data: source must be one of synthetic, folder"),
    ("data.path", "/nowhere", "config.data: folder"),
    ("loss.image_l1", -1.0, "config.loss: weight image_l1"),
    ("model.position.width", 0, "config.model.position: width"),
    ("model.size", 36, "config.model: size must be a multiple of 8"),
    ("model.template", "mine", "config.model: model 'mine': no such file or folder"),
    ("model.camera.fov_deg", 0.0, "config.model.camera: fov_deg"),
    ("optimizer.schedule", "stairs", "config.optimizer: schedule"),
    ("log.every", 0, "config.log: every must be at least 1"),
    ("log.pictures_every", -1, "config.log: pictures_every"),
    ("model.architecture", "unet", r"config.model: architecture .*guided, got 'unet'"),
  ],
)
def test_wrong_values_are_named(photos, tmp_path, key, value, message):
  config = tiny_config.config("stage1", data__path=str(photos))
  config.update_from_flattened_dict({key: value})
  with pytest.raises(build.UserError, match=message) as error:
    build.task(config, tmp_path / "a")
  assert "\n" not in str(error.value)


def test_all_wrong_keys_are_named_at_once():
  config = build.default_config().to_dict()
  config["loss"]["tv"] = 1.0
  config["optimizer"]["learning_rat"] = config["optimizer"].pop("learning_rate")
  config["data"]["count"] = "many"
  del config["model"]["light"]
  with pytest.raises(build.UserError) as error:
    build.read_config(config)
  for part in (
    "config.loss has no key 'tv'; the keys are image_l1",
    "config.optimizer lacks learning_rate",
    "config.optimizer has no key 'learning_rat'; did you mean 'learning_rate'?",
    "config.data.count must be of type int, got 'many'",
    "config.model lacks light",
  ):
    assert part in str(error.value)
  assert "\n" not in str(error.value)


def test_what_makes_no_sense_is_named_with_all_else(tmp_path):
  config = tiny_config.config(
    "stage3",
    mesh__data=3,
    mesh__model=1,
    data__batch_size=8,
    accumulate=2,
    checkpoint__metric="beauty",
    loss__adversarial_generator=0.0,
    r1__weight=1.0,
    model__position__width=0,
    optimizer__schedule="cosine",
    optimizer__warmup_steps=9,
    dtype="float16",
    affine_backend="tpu",
    model__architecture="unet",
    model__template="/nowhere.obj",
    data__source="cloud",
  ).to_dict()
  config["loss"]["position_l1"] = -1.0
  config["log"]["evry"] = config["log"].pop("every")
  with pytest.raises(build.UserError) as error:
    build.task(config, tmp_path / "a")
  for part in (
    "config.log lacks every",
    "config.log has no key 'evry'; did you mean 'every'?",
    "config.data: batch_size must be a multiple of 3 devices x 2 accumulated parts",
    "config.model.position: width",
    "a cosine schedule needs total_steps > warmup_steps",
    "config.loss: weight position_l1 must be",
    "config.dtype must be one of float32, bfloat16, got 'float16'",
    "config.affine_backend must be one of auto, ",
    "config.model: architecture must be one of",
    "config.model: model '/nowhere.obj'",
    "config.data: source must be one of synthetic, ",
  ):
    assert part in str(error.value)
  # What depends on the loss is judged once that is right.
  config["loss"]["position_l1"] = 1.0
  with pytest.raises(build.UserError) as error:
    build.task(config, tmp_path / "a")
  for part in (
    "metric must be one of total, image_l1",
    "config.r1: weight 1.0 needs a discriminator",
  ):
    assert part in str(error.value)
  assert not (tmp_path / "a").exists()


def test_a_batch_is_not_judged_by_a_mesh_that_is_wrong(tmp_path):
  config = tiny_config.config("stage1", mesh__data=99, data__batch_size=7).to_dict()
  config["data"]["batch_size"] = "7"
  with pytest.raises(build.UserError) as error:
    build.task(config, tmp_path / "a")
  assert "data x model must fit the 4 devices, got 99 x 1" in str(error.value)
  assert "config.data.batch_size must be of type int" in str(error.value)
  assert "multiple" not in str(error.value)


def test_a_bug_is_not_an_error_of_the_user(photos, tmp_path, monkeypatch):
  def broken(*_, **__):
    raise TypeError("a bug")

  monkeypatch.setattr("affjax.train.workdir.claim", broken)
  config = tiny_config.config("stage1", data__path=str(photos))
  with pytest.raises(TypeError, match="a bug"):
    build.task(config, tmp_path / "a")


def test_one_word_chooses_the_networks():
  config = build.default_config()
  assert config.model.architecture == "paper"
  config.model.architecture = "plain_dilated"
  config.model.diffuse.width = 16
  networks = build.reconstructor(config).networks
  assert (networks.row.layers, networks.row.guided) == ("dilated", False)
  assert (networks.position.width, networks.diffuse.width) == (32, 16)


def test_stored_options_are_complete_and_read_back():
  options = build.read_config(build.get_config("demo:stage2"))
  stored = json.loads(json.dumps(_configs.to_json(options)))
  assert stored["model"]["diffuse"]["width"] == 16
  assert stored["model"]["diffuse"]["kernel_size"] == 3
  assert _configs.to_json(build.read_config(stored)) == stored


def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert build.get_config("stage2").loss.pose_l1 == 1
  assert build.config_file("configs/demo.py").name == "demo.py"
  (tmp_path / "mine.py").write_text(
    "from ml_collections import ConfigDict\n"
    "def get_config(x='a'):\n  return ConfigDict({'x': x})\n"
  )
  assert build.get_config("mine.py:b").x == "b"
  with pytest.raises(
    build.UserError, match=r"one of demo, embedded, stage1, .*got 'stage4'"
  ):
    build.config_file("stage4")


def test_a_wheel_s_configs_are_found_inside_the_package(tmp_path, monkeypatch):
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "only.py").write_text(
    "from ml_collections import ConfigDict\n"
    "def get_config():\n  return ConfigDict({'x': 1})\n"
  )
  monkeypatch.setattr(_configs, "_FOLDERS", (tmp_path / "configs", *_configs._FOLDERS))
  assert build.get_config("only").x == 1
  project = pathlib.Path(_configs.__file__).parents[2] / "pyproject.toml"
  wheel = tomllib.loads(project.read_text("utf-8"))["tool"]["hatch"]["build"]
  assert wheel["targets"]["wheel"]["force-include"] == {"configs": "affjax/configs"}


def test_every_key_has_a_help_text():
  lines = build.config_help().splitlines()
  keys = [line for line in lines if line.startswith("  --config.")]
  assert len(keys) > 80
  assert all(
    after.startswith("      ") and after.strip()
    for line, after in itertools.pairwise([*lines, ""])
    if line.startswith("  --config.")
  )


def test_a_missing_key_is_named(photos, tmp_path):
  config = tiny_config.config("stage1", data__path=str(photos))
  with config.unlocked():
    del config.optimizer.schedule
  with pytest.raises(build.UserError, match="schedule"):
    build.task(config, tmp_path / "a")


def test_a_run_is_loaded_with_its_weights(trained):
  run = build.load_run(trained)
  assert (run.stage, run.step) == ("stage1", 2)
  assert run.config.model.size == tiny_config.SIZE
  images = np.full((1, tiny_config.SIZE, tiny_config.SIZE, 3), 0.5, np.float32)
  predict = jax.jit(lambda p, x: run.reconstructor(p, x, render=False))
  found = predict(run.params, images)
  assert np.isfinite(found.position).all()
  same = build.load_run(trained / "stage1")
  assert same.stage == "stage1"


def test_held_out_shapes_are_logged_beside_the_mean_head(trained):
  text = (trained / "stage1" / "metrics.jsonl").read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  name = "position, similarity"
  logged = [line for line in lines if f"held_out/{name}" in line]
  assert [line["step"] for line in logged] == [0, 2]
  for line in logged:
    # The networks start at the mean head, and two steps move them little.
    ratio = line[f"held_out/{name}"] / line[f"mean_head/{name}"]
    assert 0.9 < ratio < 1.2
    assert line["held_out/rotation"] > 0
    assert "mean_head/rotation" not in line


def test_a_folder_without_weights_says_what_to_do(tmp_path):
  with pytest.raises(ValueError, match=r"holds no weights: train it first, python -m"):
    build.load_run(tmp_path)


def test_weights_of_another_architecture_name_the_first_that_differs(trained, tmp_path):
  root = tmp_path / "a"
  shutil.copytree(trained, root)
  path = root / "stage1" / "config.json"
  config = json.loads(path.read_text())
  config["model"]["position"]["width"] = 8
  path.write_text(json.dumps(config))
  with pytest.raises(ValueError, match="of another architecture: position/") as error:
    build.load_run(root)
  assert "\n" not in str(error.value)
  path.write_text("{}")
  with pytest.raises(ValueError, match="is not a whole config"):
    build.load_run(root)
  path.write_text("\x00")
  with pytest.raises(ValueError, match="cannot read"):
    build.load_run(root)


def test_a_run_from_before_an_option_was_made_can_be_used(photos, trained, tmp_path):
  root = tmp_path / "a"
  shutil.copytree(trained, root)
  for path in (root / "config.json", root / "stage1" / "config.json"):
    stored = json.loads(path.read_text())
    for key in ("mesh", "accumulate", "ema", "r1"):
      del stored[key]
    del stored["model"]["discriminator"]["normalization"]
    path.write_text(json.dumps({**stored, "devices": 1}))
  assert build.load_run(root).step == 2
  config = tiny_config.config(
    "stage1", data__path=str(photos), steps=2, log__shapes_every=2
  )
  assert build.task(config, root).start.origin == "its checkpoint of step 2"


def test_weights_of_another_run_can_be_the_start(photos, trained, tmp_path):
  config = tiny_config.config(
    "stage2", data__path=str(photos), init_from=str(trained), loss__perceptual=0.0
  )
  task = build.task(config, tmp_path / "a")
  assert f"the weights of {trained / 'stage1'}, step 2" == task.start.origin
  wide = tiny_config.config(
    "stage1",
    data__path=str(photos),
    init_from=str(trained),
    model__position__width=8,
  )
  with pytest.raises(build.UserError, match="of another architecture"):
    build.task(wide, tmp_path / "b")


def test_the_last_photos_are_held_out(photos):
  config = tiny_config.config("stage1", data__path=str(photos))
  train, held = build.sources(config, photos)
  assert len(train) == 6
  assert len(held["image"]) == 2
  np.testing.assert_array_equal(train[0]["image"], train.whole[0]["image"])
  np.testing.assert_array_equal(held["image"][1], train.whole[7]["image"])
  with pytest.raises(IndexError):
    train[6]


@pytest.mark.slow
def test_four_devices_equal_one_with_all_real_parts(photos, trained, tmp_path):
  found = {}
  for devices in (1, 4):
    config = tiny_config.config(
      "stage3",
      data__path=str(photos),
      data__batch_size=4,
      init_from=str(trained),
      mesh__data=devices,
    )
    task = build.task(config, tmp_path / str(devices))
    update = steps.make_update(task.learner, task.mesh)
    state = sharding.put_state(task.start.state, task.mesh)
    record = sharding.put_batch(next(task.data), task.mesh)
    state, scalars = update(state, task.feature_net, record)
    found[devices] = {name: float(value) for name, value in scalars.items()}
    assert bool(state.healthy)
  for name, value in found[1].items():
    # Edges of triangles and the corners of L1 amplify the last bit in a gradient.
    tolerance = 1e-3 if name.startswith(steps.GRADIENT) else 1e-5
    assert found[4][name] == pytest.approx(value, rel=tolerance, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_all_real_parts_send_gradients_and_statistics_only(photos, trained, tmp_path):
  config = tiny_config.config(
    "stage3",
    data__path=str(photos),
    data__batch_size=4,
    init_from=str(trained),
    mesh__data=4,
  )
  task = build.task(config, tmp_path)
  state = sharding.put_state(task.start.state, task.mesh)
  record = sharding.put_batch(next(task.data), task.mesh)
  update = steps.make_update(task.learner, task.mesh)
  program = update.lower(state, task.feature_net, record).compile().as_text()
  sent = hlo.collectives(program)
  assert set(sent) == {"all-reduce"}
  trained_weights = jax.tree.leaves((state.params, state.discriminator))
  gradient = sum(leaf.size for leaf in trained_weights)
  assert gradient <= sum(sent["all-reduce"]) <= 1.05 * gradient


@pytest.mark.slow
@pytest.mark.parametrize(
  "change", [{"dtype": "bfloat16"}, {"mirror_supervision": True}]
)
def test_options_of_the_step_train(photos, trained, tmp_path, change):
  config = tiny_config.config(
    "stage3", data__path=str(photos), init_from=str(trained), **change
  )
  task = build.task(config, tmp_path)
  update = steps.make_update(task.learner, task.mesh)
  state = sharding.put_state(task.start.state, task.mesh)
  for _ in range(2):
    record = sharding.put_batch(next(task.data), task.mesh)
    state, _ = update(state, task.feature_net, record)
  assert bool(state.healthy)
  assert int(state.step) == 2
  leaves = jax.tree.leaves(state.params)
  assert {leaf.dtype.name for leaf in leaves} == {"float32"}
