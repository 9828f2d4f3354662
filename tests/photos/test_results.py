"""Many photos: runs that continue, pages made from the results, disks that fill."""

import errno
import json
import os
import shutil
import signal

import numpy as np
import pytest

from affjax import photos
from affjax.export import CARD_FOLDER, OutputError, Reconstruction
from affjax.heads import open_head
from affjax.photos import _output, _results, _writer
from affjax.types import Camera
from tests.command_line import run
from tests.photos.test_photos import write_photo

SIZE = 64


class _Method:
  """Gives each photo as many mean heads as its red corner says."""

  about = "a test"

  def __init__(self):
    self.seen = []

  def heads_of(self, pixels, path):
    self.seen.append(path.name)
    if not pixels[0, 0, 0]:
      raise ValueError("no face found")
    return [_head(path)] * int(pixels[0, 0, 0])


def _head(path):
  template = open_head("embedded").template
  return Reconstruction(
    template=template,
    camera=Camera(),
    crop_image=np.full((SIZE, SIZE, 3), 0.5, np.float32),
    crop=np.array([[0.3, 0, 0], [0, 0.3, 0.0]]),
    position=np.zeros((SIZE, SIZE, 3), np.float32),
    diffuse=np.zeros((SIZE, SIZE, 3), np.float32),
    light=np.ones((8, 8, 1), np.float32),
    light_color=np.ones(3, np.float32),
    pose=np.zeros(6),
    found={},
    notes={"photo": path.name},
  )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """Writes small files in place of real ones."""
  small = lambda *_, **__: {"pose.json": b"{}", "overlay.png": b""}
  monkeypatch.setattr(_writer, "head_files", small)
  monkeypatch.setattr(_writer, "card_files", _small_card)


def _small_card(head, photo, files, *, title):
  card = {"title": title, "files": list(files), "pictures": {}, "size": [3, 4]}
  card |= {"split": 0.5, "facts": {}}
  return {"card.json": json.dumps(card).encode()}


def _go(paths, out, method=None, **options):
  out.mkdir(exist_ok=True)
  inputs = photos.gather(paths)
  return photos.write_heads(
    inputs, out, method or _Method(), photos.ReconstructOptions(**options)
  )


def _stages(out, name="index.html"):
  return (out / name).read_text().count('class="stage"')


def test_a_run_continues_where_it_was_interrupted(tmp_path):
  paths = [write_photo(tmp_path / f"{k}.png") for k in range(4)]
  out = tmp_path / "out"

  class Interrupted(_Method):
    def heads_of(self, pixels, path):
      if path.name == "2.png":
        raise KeyboardInterrupt
      return super().heads_of(pixels, path)

  with pytest.raises(KeyboardInterrupt):
    _go(paths, out, Interrupted())
  assert _stages(out) == 2
  method = _Method()
  report = _go(paths, out, method, resume=True)
  assert method.seen == ["2.png", "3.png"]
  assert (report.kept, report.photos, report.heads) == (2, 2, 2)
  assert _stages(out) == 4


def test_failed_photos_are_tried_again_and_named(tmp_path):
  good, bad = write_photo(tmp_path / "a.png"), write_photo(tmp_path / "b.png", count=0)
  out = tmp_path / "out"
  _go([good, bad], out)
  assert photos.write_pages(out) == out / "index.html"
  assert "no face found" in (out / "index.html").read_text()
  method = _Method()
  report = _go([good, bad], out, method, resume=True)
  assert method.seen == ["b.png"]
  assert report.problems == {str(bad): "no face found"}
  write_photo(bad, count=1)
  assert not _go([good, bad], out, resume=True).problems
  assert not (out / "problems.json").exists()
  assert "no face found" not in (out / "index.html").read_text()


def test_new_photos_of_the_same_name_get_folders_of_their_own(tmp_path):
  out = tmp_path / "out"
  first, second = (write_photo(tmp_path / place / "a.png") for place in ("x", "y"))
  _go([second], out)
  _go([first, second], out, resume=True)
  records = {r.photo: r.folder for r in photos.results(out)}
  assert records == {str(second): "a", str(first): "x_a"}


def test_many_heads_are_split_over_pages(tmp_path, monkeypatch):
  monkeypatch.setattr(_results, "_HEADS_OF_PAGE", 3)
  paths = [write_photo(tmp_path / f"{k}.png", count=2) for k in range(3)]
  crowd = write_photo(tmp_path / "crowd.png", count=7)
  out = tmp_path / "out"
  _go([*paths, crowd], out)
  names = ["index.html", "index-2.html", "index-3.html", "index-4.html"]
  assert [_stages(out, name) for name in names] == [2, 2, 2, 7]
  assert "13 heads from 4 photos" in (out / names[3]).read_text()
  (out / "index-9.html").write_text("mine")
  shutil.rmtree(out / "crowd")
  result = run("page", out)
  assert result.exit_code == 0
  assert result.stdout == f"{out / 'index.html'}\n"
  assert not (out / names[3]).exists()
  assert (out / "index-9.html").read_text() == "mine"
  assert "6 heads from 3 photos" in (out / names[0]).read_text()


def test_damaged_results_do_not_spoil_the_page(tmp_path):
  paths = [write_photo(tmp_path / f"{k}.png") for k in range(3)]
  out = tmp_path / "out"
  _go(paths, out)
  (out / "0" / "photo.json").write_text("[")
  (out / "1" / "face1" / CARD_FOLDER / "card.json").write_text('{"title": "x"}')
  (out / "problems.json").write_text("3")
  photos.write_pages(out)
  assert _stages(out) == 1


@pytest.mark.parametrize(
  ("file", "change"),
  [
    ("photo.json", {"height": float("inf")}),
    ("photo.json", {"faces": 10**15}),
    ("face1/page/card.json", {"size": [float("inf"), 3]}),
    ("face1/page/card.json", {"split": float("nan")}),
  ],
)
def test_impossible_numbers_do_not_spoil_the_page(tmp_path, file, change):
  out = tmp_path / "out"
  _go([write_photo(tmp_path / f"{k}.png") for k in range(2)], out)
  record = out / "1" / file
  record.write_text(json.dumps({**json.loads(record.read_text()), **change}))
  photos.write_pages(out)
  assert _stages(out) == (2 if "faces" in change else 1)


def test_a_folder_without_results_has_no_page(tmp_path):
  result = run("page", tmp_path)
  assert result.exit_code == 2
  assert "holds no results of affjax" in result.stderr
  assert run("page", tmp_path / "none").exit_code == 2
  assert not list(tmp_path.iterdir())
  (tmp_path / "index.html").write_text("mine")
  assert "not a page of affjax" in run("page", tmp_path).stderr


def test_a_full_disk_ends_the_run_in_one_line(tmp_path, monkeypatch):
  paths = [write_photo(tmp_path / f"{k}.png") for k in range(3)]
  out, method = tmp_path / "out", _Method()
  small = _writer.head_files

  def full(head, *_, **__):
    if head.notes["photo"] == "1.png":
      raise OSError(errno.ENOSPC, "No space left on device")
    return small()

  monkeypatch.setattr(_writer, "head_files", full)
  with pytest.raises(OutputError, match=r"No space left .* --resume"):
    _go(paths, out, method)
  assert method.seen == ["0.png", "1.png"]
  assert sorted(p.name for p in out.iterdir()) == ["0", "index.html"]


class _Deadly(_Method):
  """Kills its process where the photo's red corner is 9."""

  def heads_of(self, pixels, path):
    if pixels[0, 0, 0] == 9:
      os.kill(os.getpid(), signal.SIGKILL)
    return super().heads_of(pixels, path)


def _deadly():
  return _Deadly()


def test_processes_share_photos_and_one_that_dies_is_replaced(tmp_path):
  counts = (1, 0, 9, 2)
  paths = [write_photo(tmp_path / f"{k}.png", count=n) for k, n in enumerate(counts)]
  out = tmp_path / "out"
  out.mkdir()
  seen = {}
  report = photos.write_heads(
    photos.gather(paths),
    out,
    _Method(),
    photos.OutputOptions(workers=2, format="ply", map_size=64),
    make=_deadly,
    progress=lambda path, faces: seen.update({path.name: faces}),
  )
  assert seen == {"0.png": 1, "1.png": 0, "2.png": 0, "3.png": 2}
  assert (report.photos, report.heads) == (2, 3)
  assert list(report.problems) == [str(paths[1]), str(paths[2])]
  assert report.problems[str(paths[1])] == "no face found"
  assert report.problems[str(paths[2])].startswith("the worker process died")
  assert sorted(p.name for p in out.iterdir()) == [
    *("0", "3", "index.html", "problems.json")
  ]
  assert (out / "3" / "face2" / "head.ply").stat().st_size > 1000
  assert _stages(out) == 3


def test_the_number_of_processes():
  count = lambda asked, n: _output._workers(asked, n)
  assert [count(3, 10), count(3, 2), count(1, 100), count(0, 3)] == [3, 2, 1, 1]
  assert 1 <= count(0, 10**6) <= (os.cpu_count() or 1)
  with pytest.raises(ValueError, match="workers must not be negative, got -1"):
    photos.FitOptions(workers=-1)


def test_options_that_contradict(tmp_path):
  with pytest.raises(ValueError, match="exclude each other"):
    photos.ReconstructOptions(resume=True, overwrite=True)
  with pytest.raises(ValueError, match=r"some of glb, obj, ply, usdz, got 'fbx, stl'"):
    _go([], tmp_path / "out", format="glb,stl,fbx")
  assert photos.FitOptions(format="usdz, ply").formats == ("usdz", "ply")
