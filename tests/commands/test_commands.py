"""The command line as a user meets it: one-line errors, exit codes, nothing lost."""

import io
import json
import pathlib
import re
import struct
import subprocess
import sys
import types
import zlib
from importlib import metadata

import numpy as np
import pytest
from PIL import Image

import affjax
from affjax import build, commands, photos
from affjax.assets import store
from affjax.commands import _app, _console, _weights
from affjax.export import CARD_FOLDER, FILES
from affjax.train import checkpoint
from tests import tiny_config
from tests.command_line import run, run_process


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / "photo.png"
  Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
  return path


@pytest.fixture
def chain(monkeypatch):
  """The chain replaced: records its call, gives the report that the test sets."""
  calls = []
  report = photos.Report(
    page=pathlib.Path("out/index.html"), heads=2, photos=1, problems={}
  )

  def fake(inputs, out, networks, options, *, load, progress):
    assert load() == networks
    calls.append((inputs, out, networks, options))
    for path in inputs.photos:
      progress(path, 1)
    return fake.report

  fake.report, fake.calls = report, calls
  monkeypatch.setattr(_weights, "load_run", lambda workdir, best: f"run of {workdir}")
  monkeypatch.setattr(photos, "reconstruct_photos", fake, raising=False)
  return fake


def test_version_and_help():
  assert run().stdout == run("-h").stdout == run("--help").stdout
  assert max(map(len, run("--help").stdout.splitlines())) <= 80
  assert run("--version").stdout == f"affjax {affjax.__version__}\n"
  text = run("--help").stdout
  assert "reconstruct" in text
  assert "doctor" in text


def test_options_arrive(photo, chain, tmp_path):
  result = run(
    *("reconstruct", photo, "-o", tmp_path / "out", "--weights", "runs/a"),
    *("--pose", "network", "--keep-eyes-and-mouth", "--overwrite"),
  )
  assert result.exit_code == 0
  ((inputs, out, networks, options),) = chain.calls
  assert inputs.photos == (photo,)
  assert out == tmp_path / "out"
  assert networks == "run of runs/a"
  assert options == photos.ReconstructOptions(
    pose="network", keep_eyes_and_mouth=True, overwrite=True
  )
  counts = "1 good, 0 unsure, 0 failed"
  assert result.stdout == f"2 heads from 1 photo ({counts}): out/index.html\n"
  assert result.stderr == f"{photo}: 1 face\n"
  # Nothing was written, so the folder made for it went again.
  assert not (tmp_path / "out").exists()


def test_problems_give_exit_code_1(photo, chain, tmp_path):
  chain.report = photos.Report(
    page=pathlib.Path("out/index.html"),
    heads=1,
    photos=1,
    problems={"[bold]x[/].jpg": "not an image"},
  )
  result = run("reconstruct", photo, "-o", tmp_path / "out")
  assert result.exit_code == 1
  assert "error: [bold]x[/].jpg: not an image\n" in result.stderr
  assert "1 head from 1 photo (1 good, 0 unsure, 1 failed): " in result.stdout


def test_unsure_heads_give_exit_code_3(photo, chain, tmp_path):
  chain.report = photos.Report(
    page=pathlib.Path("out/index.html"),
    heads=2,
    photos=1,
    problems={},
    unsure={"a.jpg": "face 2 (confidence 0.46)"},
  )
  result = run("reconstruct", photo, "-o", tmp_path / "out")
  assert result.exit_code == 3
  words = "warning: a.jpg: unsure of face 2 (confidence 0.46); look at it on the page\n"
  assert words in result.stderr
  counts = "0 good, 1 unsure, 0 failed"
  assert result.stdout == f"2 heads from 1 photo ({counts}): out/index.html\n"


def test_folders_are_searched_deeper_on_request(chain, tmp_path):
  deep = tmp_path / "in" / "alice" / "001.png"
  deep.parent.mkdir(parents=True)
  Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(deep)
  for options, found in (((), ()), (("--recursive",), (deep,))):
    run("reconstruct", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert chain.calls[-1][0].photos == found


def test_unusable_outputs_are_refused_before_any_work(photo, chain, tmp_path):
  full = tmp_path / "full"
  full.mkdir()
  (full / "mine").write_text("x")
  for out, message in (
    (full, "is not empty; choose another, or add --overwrite or --resume"),
    (photo, "exists and is not a folder"),
    (photo / "out", "cannot write to"),
  ):
    result = run("reconstruct", photo, "-o", out)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
  assert chain.calls == []
  assert (full / "mine").read_text() == "x"


def test_missing_arguments_and_wrong_values(photo, chain, tmp_path):
  assert run("reconstruct", photo).exit_code == 2
  assert run("reconstruct", "-o", tmp_path / "out").exit_code == 2
  result = run("reconstruct", photo, "-o", tmp_path / "out", "--pose", "guess")
  assert result.exit_code == 2
  assert "'guess' for argument '--pose'" in result.stderr
  assert "('auto', 'landmarks', 'network')" in result.stderr
  assert len(result.stderr.splitlines()) == 1
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("error", "code", "message"),
  [
    (
      KeyboardInterrupt(),
      130,
      "error: interrupted; finished photos are kept and on the page; the same command "
      "with --resume goes on\n",
    ),
    (
      RuntimeError("a\nb"),
      1,
      "error: bug: RuntimeError: a b (set AFFJAX_DEBUG=1 for the traceback)\n",
    ),
    (ValueError("weights of\nanother"), 2, "error: weights of another\n"),
  ],
)
def test_no_traceback_ever(photo, chain, tmp_path, monkeypatch, error, code, message):
  def fail(*_, **__):
    raise error

  monkeypatch.setattr(photos, "reconstruct_photos", fail, raising=False)
  result = run("reconstruct", photo, "-o", tmp_path / "out")
  assert result.exit_code == code
  assert result.stderr == message


def test_weights_must_be_there(tmp_path):
  with pytest.raises(ValueError, match="no such training workdir"):
    _weights.load_run(tmp_path / "nowhere")
  (tmp_path / "void").mkdir()
  with pytest.raises(ValueError, match="void"):
    _weights.load_run(tmp_path / "void")


def test_the_app_shows_no_untrained_networks(monkeypatch):
  run = types.SimpleNamespace(
    head=None,
    reconstructor=types.SimpleNamespace(networks=types.SimpleNamespace(guided=False)),
    params=None,
    step=7,
    stage="stage1",
    untrained=("diffuse", "light", "pose"),
  )
  monkeypatch.setattr(_weights, "load_run", lambda workdir: run)
  app = _app.App(method="networks", weights=pathlib.Path("runs/a"))
  with pytest.raises(ValueError, match=r"diffuse, light have not been .*only stage1"):
    _app._reconstructor(app)


def test_debug_shows_the_traceback(photo, chain, tmp_path, monkeypatch):
  def fail(*_, **__):
    raise ValueError("weights of another")

  monkeypatch.setattr(photos, "reconstruct_photos", fail, raising=False)
  arguments = ("reconstruct", photo, "-o", tmp_path / "out")
  for off in ("0", ""):
    monkeypatch.setenv("AFFJAX_DEBUG", off)
    assert run(*arguments).stderr == "error: weights of another\n"
  monkeypatch.setenv("AFFJAX_DEBUG", "1")
  result = run(*arguments)
  assert result.exit_code == 2
  assert result.stderr.startswith("Traceback (most recent call last)")
  assert result.stderr.endswith("error: weights of another\n")


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_help_of_each_command(command):
  """A summary, what is written, the exit status, an example, and every option."""
  result = run(command, "--help")
  assert result.exit_code == 0
  assert result.stdout.startswith(f"usage: affjax {command} ")
  for part in ("\nWrites ", "\nExit status: ", f"\nExample: affjax {command}"):
    assert part in result.stdout
  assert max(map(len, result.stdout.splitlines())) <= 80
  summary = result.stdout.split("\n\n")[1].partition("\n")[0]
  assert summary in run("--help").stdout


@pytest.mark.parametrize(
  "arguments",
  [
    *(("--help",), ("--version",), ("fit", "--help"), ("prepare", "--help")),
    *(("prepare",), ("train", "--help"), ("train", "stage1")),
    *(("reconstruct", "a.jpg", "-o", "x", "--no-such-option"), ("juggle",)),
  ],
  ids=" ".join,
)
def test_help_and_mistakes_answer_without_jax(arguments):
  program = (
    "import sys, time; began = time.monotonic()\n"
    "from affjax.commands import main\n"
    f"status = main({list(arguments)!r})\n"
    "assert 'jax' not in sys.modules, 'jax'\n"
    "print(time.monotonic() - began, file=sys.stderr); sys.exit(status)\n"
  )
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
  *lines, seconds = done.stderr.splitlines()
  right = arguments[-1] in ("--help", "--version")
  assert done.returncode == (0 if right else 2), done.stderr
  assert len(lines) == (0 if right else 1)
  assert all(line.startswith("error: ") for line in lines)
  assert float(seconds) < 5, "far beyond the 0.4 s that it takes on an idle machine"


def test_fitting_imports_no_training_code():
  program = (
    "import sys\n"
    "from affjax.commands import _fit\n"
    "from affjax import photos\n"
    "photos.fit_photos, photos.FitReconstructor, photos.write_heads\n"
    "print(*sys.modules)\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  loaded = set(done.stdout.split())
  assert "affjax.photos._by_fit" in loaded
  training = {
    "grain",
    "optax",
    "orbax",
    "tensorflow_datasets",
    "flax",
    "ml_collections",
  }
  ours = {f"affjax.{name}" for name in ("data", "losses", "train", "build", "models")}
  assert not loaded & (training | ours)


def test_train_is_the_training_program(monkeypatch, tmp_path):
  from affjax import main

  calls = []

  def leave(status):
    raise _console.Exit(status)

  monkeypatch.setattr(main, "main", lambda arguments: calls.append(arguments) or 1)
  monkeypatch.setattr(main, "leave", leave)
  result = run(
    *("train", "stage1", "--config.steps=3", "--workdir", tmp_path, "--config.seed=1")
  )
  assert result.exit_code == 1
  flags = ["--config=stage1", f"--workdir={tmp_path}"]
  assert calls == [["affjax train", *flags, "--config.steps=3", "--config.seed=1"]]


def test_doctor():
  result = run("doctor")
  assert result.exit_code == 0, result.output
  assert re.search(r"ok +asset head\.npz +intact", result.stdout)
  assert "cpu" in result.stdout
  for name, extra in (("pillow-heif", "heif"), ("av", "video"), ("h5py", "bfm")):
    found = rf"ok +{name} +(\d|none; for .*: pip install 'affjax\[{extra}\]')"
    assert re.search(found, result.stdout)
  for name in ("affine_conv", "rasterizer"):
    assert re.search(rf"ok +{name} on cpu +(cpp: compiled|xla: \w)", result.stdout)


def test_doctor_says_how_to_get_what_is_missing(monkeypatch):
  def missing(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(metadata, "version", missing)
  result = run("doctor")
  assert result.exit_code == 1
  assert re.search(r"bad +jax +not installed; .*pip install", result.stdout)
  for extra in ("heif", "video", "app", "train", "bfm"):
    assert f"pip install 'affjax[{extra}]'" in result.stdout


def test_as_a_process_without_weights(photo, tmp_path):
  """The installed command's module, as a user's shell starts it."""
  answer = run_process(
    *("reconstruct", photo, "-o", "out", "--weights", "nowhere"), cwd=tmp_path
  )
  assert answer.exit_code == 2
  assert answer.stdout == ""
  assert answer.stderr.startswith("error: weights 'nowhere': no such training workdir")
  assert len(answer.stderr.splitlines()) == 1
  assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A workdir of untrained networks."""
  root = tmp_path_factory.mktemp("runs") / "a"
  photos = tiny_config.write_photos(tmp_path_factory.mktemp("data") / "photos")
  task = build.task(tiny_config.config("stage1", data__path=str(photos)), root)
  with checkpoint.Checkpoints(root / "stage1", task.plan.checkpoint) as checkpoints:
    checkpoints.save(task.start.state, task.data, task.meta)
  return root


def _beginning_of_png(width: int, height: int) -> bytes:
  """The signature and the header of a PNG, black and white, and its first rows."""
  chunk = lambda kind, data: (
    struct.pack(">I", len(data))
    + kind
    + data
    + struct.pack(">I", zlib.crc32(kind + data))
  )
  header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
  rows = chunk(b"IDAT", zlib.compress(bytes(10 * (1 + width // 8))))
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows


def _write_bad_photos(place: pathlib.Path) -> dict[str, str]:
  """Files of every bad kind, and a word of the answer to each."""
  black = Image.new("RGB", (80, 80))
  black.save(place / "nobody.png")
  (place / "empty.jpg").write_bytes(b"")
  (place / "text.png").write_text("not an image")
  whole = (place / "nobody.png").read_bytes()
  (place / "cut.png").write_bytes(whole[: len(whole) // 2])
  Image.new("RGB", (1, 1)).save(place / "dot.png")
  (place / "huge.png").write_bytes(_beginning_of_png(20_000, 20_000))
  return {
    "nobody.png": "no face found",
    "empty.jpg": "the file is empty",
    "text.png": "not an image",
    "cut.png": "",
    "dot.png": "too small",
    "huge.png": "too large",
    "missing.png": "no such file",
  }


def test_a_folder_of_good_and_bad_photos(workdir, tmp_path):
  """The whole chain with untrained networks, as a user runs it."""
  place = tmp_path / "in put"
  place.mkdir()
  expected = _write_bad_photos(place)
  astronaut = Image.open(io.BytesIO(store.read_asset("astronaut.jpg")))
  # Lying on its side, as cameras store portraits.
  exif = Image.Exif()
  exif[0x0112] = 6
  astronaut.transpose(Image.Transpose.ROTATE_90).save(place / "é 顔.jpg", exif=exif)
  out = tmp_path / "out"
  answer = run(
    *("reconstruct", place, place / "missing.png", "-o", out, "--weights", workdir)
  )
  assert answer.exit_code == 1, answer.stderr
  assert "Traceback" not in answer.stderr
  lines = answer.stderr.splitlines()
  for name, word in expected.items():
    (line,) = (found for found in lines if f"{place / name}: " in found)
    assert line.startswith("error: ")
    assert word in line
  assert f"{place / 'é 顔.jpg'}: 1 face" in lines
  assert re.match(
    r"1 head from 1 photo \((1 good, 0|0 good, 1) unsure, 7 failed\): ", answer.stdout
  )
  assert sorted(p.name for p in out.iterdir()) == [
    "index.html",
    "problems.json",
    "é 顔",
  ]
  face = out / "é 顔" / "face1"
  assert {p.name for p in face.iterdir()} == {*FILES, CARD_FOLDER}
  # The overlay is the upright photo, and the head covers the face.
  with Image.open(face / "overlay.png") as overlay:
    assert overlay.size == astronaut.size
  facts = json.loads((face / "pose.json").read_text())
  nose = np.array(facts["face"]["landmarks68_px"][30])
  tip = np.array(facts["projection_from_decimetres"]) @ [0, -0.1, 0.8, 1]
  width = np.ptp(np.array(facts["face"]["landmarks68_px"])[:, 0])
  assert np.linalg.norm(tip[:2] / tip[2] - nose) < 0.3 * width
