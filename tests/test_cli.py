"""The command line as a user meets it: one-line errors, exit codes, nothing lost."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer import testing

import affjax
from affjax import build, cli, reconstruct
from affjax.assets import store
from affjax.export import FILES
from affjax.train import checkpoint
from tests import tiny_config

_ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments: str | pathlib.Path, **options) -> testing.Result:
  return testing.CliRunner().invoke(cli.app, [str(a) for a in arguments], **options)


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / "photo.png"
  Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
  return path


@pytest.fixture
def chain(monkeypatch):
  """The chain replaced: records its call, gives the report that the test sets."""
  calls = []
  report = reconstruct.Report(
    page=pathlib.Path("out/index.html"), heads=2, photos=1, problems={}
  )

  def fake(inputs, out, **options):
    calls.append((inputs, out, options))
    for path in inputs.photos:
      options["progress"](path, 1)
    return fake.report

  fake.report, fake.calls = report, calls
  monkeypatch.setattr(reconstruct, "load_run", lambda workdir: f"run of {workdir}")
  monkeypatch.setattr(reconstruct, "reconstruct", fake)
  return fake


def test_version_and_help():
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
  ((inputs, out, options),) = chain.calls
  assert inputs.photos == (photo,)
  assert out == tmp_path / "out"
  del options["progress"]
  assert options == {
    "run": "run of runs/a",
    "pose": "network",
    "keep_original": True,
    "overwrite": True,
  }
  assert result.stdout == "2 heads from 1 photo: out/index.html\n"
  assert result.stderr == f"{photo}: 1 face\n"
  # Nothing was written, so the folder made for it went again.
  assert not (tmp_path / "out").exists()


def test_problems_give_exit_code_1(photo, chain, tmp_path):
  chain.report = reconstruct.Report(
    page=pathlib.Path("out/index.html"),
    heads=1,
    photos=1,
    problems={"[bold]x[/].jpg": "not an image"},
  )
  result = run("reconstruct", photo, "-o", tmp_path / "out")
  assert result.exit_code == 1
  assert "error: [bold]x[/].jpg: not an image\n" in result.stderr
  assert "1 head from 1 photo" in result.stdout


def test_unusable_outputs_are_refused_before_any_work(photo, chain, tmp_path):
  full = tmp_path / "full"
  full.mkdir()
  (full / "mine").write_text("x")
  for out, message in (
    (full, "is not empty; choose another or add --overwrite"),
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
  assert "--pose must be one of landmarks, network, got 'guess'" in result.stderr
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("error", "code", "message"),
  [
    (KeyboardInterrupt(), 130, "error: interrupted; finished photos stay\n"),
    (RuntimeError("a\nb"), 2, "error: unexpected RuntimeError: a b\n"),
    (ValueError("weights of\nanother"), 2, "error: weights of another\n"),
  ],
)
def test_no_traceback_ever(photo, chain, tmp_path, monkeypatch, error, code, message):
  def fail(*_, **__):
    raise error

  monkeypatch.setattr(reconstruct, "reconstruct", fail)
  result = run("reconstruct", photo, "-o", tmp_path / "out")
  assert result.exit_code == code
  assert result.stderr == message


def test_doctor():
  result = run("doctor")
  assert result.exit_code == 0, result.output
  assert re.search(r"ok +asset head\.npz +whole", result.stdout)
  assert "cpu" in result.stdout
  for name in ("affine_conv", "rasterizer"):
    assert re.search(rf"ok +{name} on cpu +(cpp: compiled|xla: \w)", result.stdout)


def test_as_a_process_without_weights(photo, tmp_path):
  """The installed command's module, as a user's shell starts it."""
  answer = subprocess.run(
    [sys.executable, "-m", "affjax.cli", "reconstruct", str(photo), "-o", "out"],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert answer.returncode == 2
  assert answer.stdout == ""
  assert answer.stderr.startswith("error: no weights: run `make demo`")
  assert len(answer.stderr.splitlines()) == 1
  assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A workdir of untrained networks."""
  root = tmp_path_factory.mktemp("runs") / "a"
  photos = tiny_config.write_photos(tmp_path_factory.mktemp("data") / "photos")
  task = build.task(tiny_config.config("stage1", data__path=str(photos)), root)
  with checkpoint.Checkpoints(root / "stage1") as checkpoints:
    checkpoints.save(task.start.state, task.data, task.meta)
  return root


def _write_bad_photos(place: pathlib.Path) -> dict[str, str]:
  """Files of every bad kind, and a word of the answer to each."""
  black = Image.new("RGB", (80, 80))
  black.save(place / "nobody.png")
  (place / "empty.jpg").write_bytes(b"")
  (place / "text.png").write_text("not an image")
  whole = (place / "nobody.png").read_bytes()
  (place / "cut.png").write_bytes(whole[: len(whole) // 2])
  Image.new("RGB", (1, 1)).save(place / "dot.png")
  Image.new("1", (20_000, 20_000)).save(place / "huge.png")
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
  answer = subprocess.run(
    [
      *(sys.executable, "-m", "affjax.cli", "reconstruct", str(place)),
      *(str(place / "missing.png"), "-o", str(out), "--weights", str(workdir)),
    ],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert answer.returncode == 1, answer.stderr
  assert "Traceback" not in answer.stderr
  lines = answer.stderr.splitlines()
  for name, word in expected.items():
    (line,) = (found for found in lines if f"{place / name}: " in found)
    assert line.startswith("error: ")
    assert word in line
  assert f"{place / 'é 顔.jpg'}: 1 face" in lines
  assert answer.stdout == f"1 head from 1 photo: {out / 'index.html'}\n"
  assert sorted(p.name for p in out.iterdir()) == ["index.html", "é 顔"]
  face = out / "é 顔" / "face1"
  assert sorted(p.name for p in face.iterdir()) == sorted(FILES)
  # The overlay is the upright photo, and the head covers the face.
  with Image.open(face / "overlay.png") as overlay:
    assert overlay.size == astronaut.size
  facts = json.loads((face / "pose.json").read_text())
  nose = np.array(facts["face"]["landmarks68_px"][30])
  tip = np.array(facts["projection_from_decimetres"]) @ [0, -0.1, 0.8, 1]
  width = np.ptp(np.array(facts["face"]["landmarks68_px"])[:, 0])
  assert np.linalg.norm(tip[:2] / tip[2] - nose) < 0.3 * width
