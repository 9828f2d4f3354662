"""Tests of splits, quality, 16-bit PNGs, part files and the process pool."""

import os
import pathlib
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

from affjax import pool
from affjax.data._preparation import outcomes, quality, workspace
from affjax.data._preparation.options import PrepareOptions
from affjax.data._preparation.outcomes import Kept, Skipped, UnitOutcome
from affjax.data._preparation.splits import Splits
from affjax.data._preparation.workspace import WorkspaceError
from affjax.data._providers import png16
from affjax.faces import Crop, warp
from tests.app import stub
from tests.data import pool_tasks


def _outcome(count=3, start=0):
  kept = [
    Kept(f"{k}.png#face 1", f"{k}.png", "train", 0.5, 2.0, f"d{k}", bytes([k]) * 100)
    for k in range(start, start + count)
  ]
  return UnitOutcome(count + 1, kept, [Skipped("z.png", "no face", "none found")])


def test_splits_have_their_shares_and_never_change():
  splits = Splits((0.8, 0.1, 0.1))
  names = [f"photos/{k:05d}.jpg" for k in range(4000)]
  found = [splits.of(name) for name in names]
  for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
    assert abs(found.count(split) / 4000 - share) < 0.03
  assert found[:100] == [splits.of(name) for name in names[:100]]
  assert {Splits((0, 1, 0)).of(name) for name in names} == {"validation"}


def test_photos_of_a_person_stay_together():
  splits = Splits((0.4, 0.3, 0.3), person=r"^(\w+?)_\d+")
  for person in ("ann", "bob", "carl", "dora", "emil"):
    assert len({splits.of(f"{person}_{k}.jpg") for k in range(20)}) == 1
  assert len({splits.of(f"{k}.jpg") for k in range(50)}) == 3


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.6, 0.1), (1.2, -0.2, 0)])
def test_shares_must_sum_to_one(shares):
  with pytest.raises(ValueError, match="shares"):
    Splits(shares)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("provider", "magic"),
    ("size", 100),
    ("limit", -1),
    ("least_quality", 1.5),
    ("smallest_face", float("nan")),
    ("person", "("),
  ],
)
def test_options_without_sense_are_refused(field, value):
  with pytest.raises(ValueError, match=str(field).split("_")[0]):
    PrepareOptions(**{field: value})


def test_quality_falls_with_each_of_its_parts():
  best = dict(geometry=1.0, detection=1.0, resolution=1.0, sharpness=1.0, within=1.0)
  assert quality.quality(**best) == 1
  assert quality.quality(**{**best, "within": 0.5}) == 0.5
  for name in list(best)[:-1]:
    assert quality.quality(**{**best, name: 0.5}) == pytest.approx(0.5**0.25)
    assert quality.quality(**{**best, name: 0.0}) == 0
  half = Crop(warp.similarity(np.zeros(2), 100, 0, 400), 400)
  assert quality.resolution(half) == pytest.approx(0.5)


def test_landmarks_beyond_the_photo_cost_quality():
  points = np.full((68, 2), 10.0)
  points[17:34, 0] = 100.4
  assert quality.within(points, (50, 101)) == 1
  assert quality.within(points, (101, 50)) == pytest.approx(2 / 3)
  points[:17] = -50  # the jaw may lie outside
  assert quality.within(points, (50, 101)) == 1


def test_blur_costs_sharpness():
  rng = np.random.default_rng(0)
  sharp = rng.integers(0, 255, (256, 256, 3)).astype(np.uint8)
  flat = np.full((256, 256, 3), 90, np.uint8)
  points = rng.uniform(60, 200, (68, 2))
  assert quality.sharpness(sharp, points) > 0.9
  assert quality.sharpness(flat, points) == 0
  assert np.isfinite(quality.sharpness(sharp, points + 1000))


def png16_bytes(pixels, filters=(0,)):
  """Returns a 16-bit RGB PNG whose rows take turns with the filters."""
  rows = pixels.astype(">u2").view(np.uint8).reshape(len(pixels), -1).astype(int)
  raw, above = b"", np.zeros(rows.shape[1], int)
  for k, row in enumerate(rows):
    kind = filters[k % len(filters)]
    left = np.concatenate([np.zeros(6, int), row[:-6]])
    corner = np.concatenate([np.zeros(6, int), above[:-6]])
    middle = left + above - corner
    far = [abs(middle - left), abs(middle - above), abs(middle - corner)]
    paeth = np.where(
      (far[0] <= far[1]) & (far[0] <= far[2]),
      left,
      np.where(far[1] <= far[2], above, corner),
    )
    guess = [0 * row, left, above, (left + above) // 2, paeth][kind]
    raw += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    above = row
  height, width = pixels.shape[:2]
  chunk = lambda name, data: (
    struct.pack(">I", len(data))
    + name
    + data
    + struct.pack(">I", zlib.crc32(name + data))
  )
  header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
  packed = zlib.compress(raw)
  body = chunk(b"IDAT", packed[:50]) + chunk(b"IDAT", packed[50:])
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_16_bit_png_with_every_filter(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 1 << 16, (11, 7, 3)).astype(np.uint16)
  path = tmp_path / "a.png"
  path.write_bytes(png16_bytes(pixels, (0, 1, 2, 3, 4)))
  np.testing.assert_array_equal(png16.read(path), pixels)


@pytest.mark.parametrize("change", ["cut", "filter", "text", "eight"])
def test_damaged_16_bit_png_is_refused(tmp_path, change):
  pixels = np.random.default_rng(0).integers(0, 1 << 16, (4, 4, 3)).astype(np.uint16)
  data = png16_bytes(pixels)
  path = tmp_path / "a.png"
  if change == "cut":
    data = data[:60]
  elif change == "filter":
    raw = zlib.compress(bytes([9]) + bytes(24) + bytes(75))
    start = data.index(b"IDAT") - 4
    data = data[:start] + struct.pack(">I", len(raw)) + b"IDAT" + raw + bytes(4)
  elif change == "text":
    data = b"hello"
  else:
    data = data[:24] + bytes([8]) + data[25:]
  path.write_bytes(data)
  with pytest.raises(ValueError, match=r"a\.png"):
    png16.read(path)


def test_part_file_holds_all_or_is_refused():
  data = outcomes.pack(_outcome())
  assert outcomes.unpack(data) == _outcome()
  for broken in (data[:-1], data[:40], b"", data[:200] + b"x" + data[201:]):
    with pytest.raises(ValueError, match="damaged"):
      outcomes.unpack(broken)


def test_repeated_photos_are_kept_once():
  seen = {}
  first = outcomes.without_repeats(_outcome(2), seen)
  assert len(first.kept) == 2
  again = Kept("b.png#face 1", "b.png", "test", 0.5, 2.0, "d1", b"x")
  second = outcomes.without_repeats(UnitOutcome(1, [again], []), seen)
  assert not second.kept
  assert second.skipped[0].kind == "repeated photo"
  assert "'1.png'" in second.skipped[0].reason


def test_workspace_remembers_and_minds_its_plan(tmp_path):
  place, plan = tmp_path / "work", {"size": 64, "shares": (1, 0)}
  with workspace.opened(place, plan) as work:
    assert work.found(4) is None
    work.store(4, _outcome())
    with (
      pytest.raises(WorkspaceError, match="another process"),
      workspace.opened(place, plan),
    ):
      pass
  (place / "units" / ".left").write_text("of a killed process")
  with workspace.opened(place, plan) as work:
    assert work.load(4) == _outcome()
    assert [p.name for p in (place / "units").iterdir()] == ["0000004.part"]
  other = {**plan, "size": 128}
  with pytest.raises(WorkspaceError, match="size changed"):
    workspace.opened(place, other).__enter__()
  with workspace.opened(place, other, restart=True) as work:
    assert work.found(4) is None


def test_damaged_part_counts_as_not_done(tmp_path):
  with workspace.opened(tmp_path / "work", {}) as work:
    work.store(0, _outcome())
    part = next((tmp_path / "work" / "units").iterdir())
    part.write_bytes(part.read_bytes()[:-1])
    assert work.found(0) is None
    with pytest.raises(WorkspaceError, match="missing or damaged"):
      work.load(0)


def test_full_disk_leaves_no_part(tmp_path):
  """A limit on the size of files simulates a full disk."""
  program = """
import pathlib, resource, sys
from affjax.data._preparation import workspace
with workspace.opened(pathlib.Path(sys.argv[1]), {}) as work:
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
  from affjax.data._preparation.outcomes import Kept, UnitOutcome
  kept = Kept("a#face 1", "a", "train", 1.0, 1.0, "d", bytes(5000))
  try:
    work.store(0, UnitOutcome(1, [kept], []))
  except OSError as error:
    print("named:", error)
  print([p.name for p in (work.path / "units").iterdir()])
"""
  done = subprocess.run(
    [sys.executable, "-c", program, str(tmp_path / "work")],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )
  assert "named: [Errno 27]" in done.stdout
  assert done.stdout.endswith("[]\n")


def test_pool_does_every_task_and_tells_what_went_wrong():
  found = sorted(pool.run(pool_tasks.doubler, range(5), workers=2))
  assert found == [0, 2, 4, 6, 8]
  with pytest.raises(ValueError, match="seven"):
    list(pool.run(pool_tasks.doubler, [1, 7], workers=1))
  with pytest.raises(pool.WorkerDied, match="run the command again"):
    list(pool.run(pool_tasks.doubler, [8], workers=1))
  assert os.environ.get("NPROC") is None


def test_a_task_that_kills_its_process_fails_alone():
  found = dict(pool.survived(pool_tasks.survivor, [1, 8, 2, 8, 3], workers=2))
  assert isinstance(found.pop(8), pool.WorkerDied)
  assert found == {1: 2, 2: 4, 3: 6}
  assert os.environ.get("NPROC") is None
  started = pool.survived(pool_tasks.survivor, range(1000), workers=2)
  next(started)
  started.close()
  with pytest.raises(ValueError, match="no weights"):
    list(pool.survived(stub.make_nothing, [1], workers=2))


_ORPHANS = """
import os, pathlib, sys, time
from affjax import pool
def make():
  return work
def work(place):
  pathlib.Path(place).write_text(str(os.getpid()))
  time.sleep(600)
if __name__ == "__main__":
  list(pool.run(make, [sys.argv[1]], workers=1))
"""


def test_workers_end_with_a_killed_parent(tmp_path):
  program, note = tmp_path / "program.py", tmp_path / "worker.pid"
  program.write_text(_ORPHANS)
  root = pathlib.Path(__file__).parents[2]
  parent = subprocess.Popen(
    [sys.executable, str(program), str(note)],
    env={**os.environ, "PYTHONPATH": str(root)},
  )
  try:
    _until(lambda: note.exists() and note.read_text())
  finally:
    parent.kill()
    parent.wait()
  worker = pathlib.Path(f"/proc/{note.read_text()}")
  _until(lambda: not worker.exists())


def _until(holds, seconds=120):
  end = time.monotonic() + seconds
  while not holds():
    assert time.monotonic() < end
    time.sleep(0.05)
