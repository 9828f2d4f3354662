"""Tasks for worker processes; imports nothing that would make them start slowly."""

import os
import pathlib
import signal
import time
import zipfile

# The beginning of a file that looks like a photo until it is decoded.
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
FILE = b"glTF"


def make_task():
  return do


def make_nothing():
  raise ValueError("no weights")


def do(task, tell):
  """Answers as the content of the photo says; an empty task warms up."""
  if not task:
    return {}
  content = pathlib.Path(task["photo"]).read_bytes()
  tell(["read", 0, 0])
  time.sleep(0.02)
  if b"paint" in content:
    for told in (["detect", 0, 0], ["lie", 0, 0], "paint", ["paint", 2, 3]):
      tell(told)
    time.sleep(1)
  if b"kill" in content:
    os.kill(os.getpid(), signal.SIGKILL)
  if b"hang" in content:
    time.sleep(60)
  if b"bad" in content:
    return {"reason": "no face found"}
  out = pathlib.Path(task["out"])
  face = out / "portrait" / "face1"
  face.mkdir(parents=True)
  (face / "head.glb").write_bytes(FILE)
  (face / "secret.txt").write_bytes(b"secret")
  with zipfile.ZipFile(task["archive"], "w") as archive:
    archive.write(face / "head.glb", "portrait/face1/head.glb")
  return {"folder": "portrait", "cards": ["<p>card</p>"], "unsure": 0, "bytes": 100}
