"""The page of a run: what it is told, what it refuses, and that a browser draws it."""

import functools
import http.server
import json
import shutil
import subprocess
import threading

import pytest

from affjax.commands import main
from affjax.train import run_page
from affjax.train.workdir import WorkdirError

HOST = "127.0.0.1:8300"


def _log(stage, *lines):
  stage.mkdir(parents=True, exist_ok=True)
  (stage / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def root(tmp_path):
  """A workdir after some steps of stage 1, with a line that is half written."""
  lines = [{"step": 0, "held_out/total": 2.5}, {"step": 25, "total": 2.0}]
  lines += [{"step": 50, "total": float("nan"), "gradient/position": 1.5}]
  _log(tmp_path / "stage1", *map(json.dumps, lines), '{"step": 75, "tot')
  summary = {"finished": False, "total_steps": 100, "seed": 3}
  (tmp_path / "stage1" / "summary.json").write_text(json.dumps(summary))
  (tmp_path / "pictures").mkdir()
  for name in ("stage1_000050.png", "stage1_1000000.png", "stage1_000000.png", "x.png"):
    (tmp_path / "pictures" / name).write_bytes(name.encode())
  (tmp_path / "config.json").write_text("secret")
  return tmp_path


def test_the_page_is_told_curves_progress_and_pictures(root):
  data = run_page.data_of(root)
  stage = data["stages"]["stage1"]
  assert (stage["step"], stage["total_steps"], stage["finished"]) == (50, 100, False)
  assert stage["facts"] == {"seed": 3}
  assert stage["curves"] == {
    "held_out/total": [(0, 2.5)],
    "total": [(25, 2.0), (50, None)],
    "gradient/position": [(50, 1.5)],
  }
  assert 0 <= stage["silent"] < 600
  # In the order of the steps, which is not that of the names.
  assert data["pictures"]["stage1"] == [
    "stage1_000000.png",
    "stage1_000050.png",
    "stage1_1000000.png",
  ]


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
  lines = [json.dumps({"step": k, "total": 1.0}) for k in range(5000)]
  _log(tmp_path / "stage2", *lines)
  points = run_page.data_of(tmp_path)["stages"]["stage2"]["curves"]["total"]
  assert len(points) == 1000
  assert (points[0][0], points[-1][0]) == (0, 4999)


def test_the_page_and_its_pictures_are_served(root):
  status, kind, content = run_page.answer(root, "/", HOST)
  assert (status, kind) == (200, "text/html; charset=utf-8")
  assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
  assert run_page.answer(root, "/data.json", HOST)[0] == 200
  picture = run_page.answer(root, "/pictures/stage1_000050.png", HOST)
  assert picture == (200, "image/png", b"stage1_000050.png")


@pytest.mark.parametrize(
  "path",
  [
    "/config.json",
    "/pictures/../config.json",
    "/pictures/x.png",
    "/pictures/stage1_000075.png",
    "//etc/passwd",
  ],
)
def test_nothing_else_is_served(root, path):
  assert run_page.answer(root, path, HOST)[0] == 404


def test_a_page_of_the_internet_is_told_nothing(root):
  for host in ("evil.example:8300", "", "127.0.0.1.evil.example:8300"):
    assert run_page.answer(root, "/data.json", host)[0] == 403


def test_another_folder_is_refused_in_one_line(tmp_path, capsys):
  with pytest.raises(WorkdirError, match="is not a workdir of affjax train"):
    run_page.data_of(tmp_path)
  assert main(["view", str(tmp_path)]) == 2
  assert main(["view", str(tmp_path / "none")]) == 2
  lines = capsys.readouterr().err.strip().splitlines()
  assert [line.endswith(("affjax train", "no such folder")) for line in lines] == [
    True,
    True,
  ]


def test_a_taken_port_is_one_line(root, capsys):
  with http.server.HTTPServer((run_page.LOCAL, 0), None) as other:
    port = other.server_port
    assert main(["view", str(root), "--port", str(port)]) == 2
  assert f"--port {port}: Address already in use" in capsys.readouterr().err


def test_a_browser_draws_the_curves(root):
  browser = shutil.which("chromium")
  if browser is None:
    pytest.skip("needs chromium")
  handler = functools.partial(run_page._Handler, root)
  with http.server.ThreadingHTTPServer((run_page.LOCAL, 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu"]
    found = subprocess.run(
      [
        browser,
        *flags,
        "--virtual-time-budget=3000",
        "--dump-dom",
        f"http://{run_page.LOCAL}:{server.server_port}/",
      ],
      capture_output=True,
      text=True,
      timeout=120,
    ).stdout
    server.shutdown()
  assert "stage1: step 50 of 100" in found
  assert "held out 2.5" in found
  assert "train not finite" in found
  assert 'src="/pictures/stage1_1000000.png"' in found
