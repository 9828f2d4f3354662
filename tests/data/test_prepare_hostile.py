"""Tests of `affjax prepare` on hostile and unusual archives."""

import io
import json
import os
import pathlib
import resource
import struct
import subprocess
import sys
import tarfile
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from affjax.assets import store
from tests.command_line import run

_ROOT = pathlib.Path(__file__).parents[2]
SIZE = ("--size", "64", "--workers", "1", "--splits", "1,0,0")


def _run(*arguments, most_bytes=None):
  """Runs the command in its own process, with a limit on the size of files."""
  limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
  return subprocess.run(
    [sys.executable, "-m", "affjax.commands", "prepare", *map(str, arguments), *SIZE],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    preexec_fn=limit if most_bytes else None,
  )


def _astronaut():
  return Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")


def _bytes(picture, kind="PNG", **options):
  stream = io.BytesIO()
  picture.save(stream, kind, **options)
  return stream.getvalue()


def _huge():
  """Returns the beginning of a PNG of 40,000 x 40,000 pixels, a bomb."""
  header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
  chunk = lambda kind, data: (
    struct.pack(">I", len(data))
    + kind
    + data
    + struct.pack(">I", zlib.crc32(kind + data))
  )
  body = chunk(b"IDAT", zlib.compress(bytes(1000)))
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def _several():
  """Returns a photo of three faces of different sizes and orientations."""
  face = _astronaut().crop((130, 0, 330, 210))
  sheet = Image.new("RGB", (700, 300), (90, 120, 90))
  sheet.paste(face.resize((240, 252)), (0, 20))
  sheet.paste(face.rotate(12, Image.Resampling.BICUBIC), (260, 40))
  sheet.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (480, 60))
  return sheet


def _sixteen():
  grey = np.asarray(_astronaut().convert("L"))[:400].astype(np.uint16) * 257
  return Image.fromarray(grey)


def _members():
  whole = _astronaut()
  jpeg = store.read_asset("astronaut.jpg")
  broken = bytearray(jpeg)
  broken[len(jpeg) // 3 :] = b"\xff" * (len(jpeg) - len(jpeg) // 3)
  yield "photos/good.jpg", jpeg
  yield "photos/several.png", _bytes(_several())
  yield "photos/sixteen.png", _bytes(_sixteen())
  yield "photos/grey.png", _bytes(whole.convert("L"))
  yield "photos/cmyk.jpg", _bytes(whole.convert("CMYK"), "JPEG")
  yield "photos/turned.jpg", _bytes(whole.rotate(90, expand=True), "JPEG", quality=95)
  yield "photos/large.jpg", _bytes(whole.resize((4000, 4000)), "JPEG")
  yield "photos/huge.png", _huge()
  yield "photos/cut.jpg", bytes(jpeg[: len(jpeg) // 2])
  yield "photos/broken.jpg", bytes(broken)
  yield "photos/tiny.png", _bytes(whole.resize((16, 16)))
  yield "photos/nobody.png", _bytes(Image.new("RGB", (300, 200), "teal"))
  yield "photos/good.jpg", _bytes(Image.new("RGB", (300, 200), "red"), "JPEG")
  yield "../climbs.jpg", jpeg
  yield "/absolute.jpg", jpeg
  yield "photos/../../out.jpg", jpeg
  yield "photos/readme.txt", b"not a photo"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
  path = tmp_path_factory.mktemp("hostile") / "photos.tar"
  with tarfile.open(path, "w") as stream:
    for name, content in _members():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      stream.addfile(info, io.BytesIO(content))
    link = tarfile.TarInfo("photos/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    stream.addfile(link)
  return path


@pytest.fixture(scope="module")
def prepared(archive, tmp_path_factory):
  """Returns the folder of the data set, and what the command printed."""
  out = tmp_path_factory.mktemp("prepared")
  done = run("prepare", archive, "-o", out, *SIZE)
  assert done.exit_code == 0, done.stderr
  return out, done.stdout


def test_every_member_is_kept_counted_or_refused(prepared):
  out, printed = prepared
  folder = out / "faces" / "1.0.0"
  summary = json.loads((folder / "summary.json").read_bytes())
  data = tfds.builder_from_directory(folder).as_data_source("train")
  kept = sorted(data[k]["source"].decode() for k in range(len(data)))
  alone = ("cmyk.jpg", "good.jpg", "grey.png", "large.jpg", "sixteen.png", "turned.jpg")
  several = [f"photos/several.png#face {k}" for k in (1, 2, 3)]
  assert kept == sorted([*(f"photos/{name}#face 1" for name in alone), *several])
  why = {s["source"]: (s["kind"], s["reason"]) for s in summary["skipped_names"]}
  for name, reason in (
    ("cut.jpg", "cannot be read"),
    ("broken.jpg", "cannot be read"),
    ("huge.png", "too large"),
    ("tiny.png", "too small"),
  ):
    kind, told = why.pop(f"photos/{name}")
    assert (kind, reason in told) == ("unreadable photo", True), told
  assert why.pop("photos/nobody.png")[0] == "no face"
  for name in ("../climbs.jpg", "/absolute.jpg", "photos/../../out.jpg"):
    assert "climbs out" in why.pop(name)[1]
  assert why.pop("photos/link.jpg")[1] == "a link"
  assert "second member" in why.pop("photos/good.jpg (again)")[1]
  assert not why
  assert summary["photos"] == len(kept) - 2 + 5 + 5
  assert summary["plan"]["ignored"] == 1
  assert "5 refused member, 4 unreadable photo, 1 no face" in printed
  written = [p for p in out.rglob("*") if p.is_file()]
  assert {p.parent for p in written} == {folder}


def test_truncated_archive_is_one_line_and_nothing_is_written(archive, tmp_path):
  cut = tmp_path / "cut.tar"
  cut.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
  out = tmp_path / "out"
  done = run("prepare", cut, "-o", out)
  assert done.exit_code == 2
  assert len(done.stderr.strip().splitlines()) == 1
  assert "cut.tar' is damaged" in done.stderr
  assert not out.exists()


@pytest.mark.slow  # the command runs three times
def test_full_disk_is_one_line_and_the_next_run_finishes(archive, prepared, tmp_path):
  """The first limit allows no part file, the second one those but no shard."""
  out = tmp_path / "out"
  command = (archive, "-o", out)
  shard = next(prepared[0].rglob("*.array_record-*")).stat().st_size
  for most_bytes in (shard // 3, shard - 4096):
    done = _run(*command, most_bytes=most_bytes)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    told = done.stderr.splitlines()[-1]
    assert ("cannot write the data set" in told) == (most_bytes > shard // 2), told
    assert "too large" in told.lower()
    assert [p.name for p in (out / "faces").iterdir()] == [".preparing"]
    hidden = [p for p in out.rglob(".*") if p.is_file()]
    assert not hidden
  last = _run(*command)
  assert last.returncode == 0, last.stderr
  assert _content(out) == _content(prepared[0])
  assert os.listdir(out / "faces") == ["1.0.0"]


def _content(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }
