"""The example script that makes a GLB file of a photo."""

import os
import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest
import trimesh
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "examples" / "photo_to_glb.py"


def _run(*arguments: str, folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, str(SCRIPT), *arguments],
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=300,
  )


def test_the_portrait_becomes_a_textured_head(tmp_path):
  done = _run(folder=tmp_path)
  assert done.returncode == 0, done.stderr
  assert "head.glb" in done.stdout
  scene = trimesh.load(tmp_path / "head.glb")
  assert isinstance(scene, trimesh.Scene)
  size = scene.extents  # meters
  assert np.all((size > 0.1) & (size < 0.5))
  texture = next(iter(scene.geometry.values())).visual.material.baseColorTexture
  assert texture.size == (512, 512)
  assert np.asarray(texture.convert("RGB")).std() > 10  # the photo's colors


def test_a_photo_without_a_face_is_one_line(tmp_path, monkeypatch):
  Image.new("RGB", (200, 150), (90, 120, 90)).save(tmp_path / "grass.png")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "argv", [str(SCRIPT), "grass.png", "out.glb"])
  with pytest.raises(SystemExit) as ended:  # Python prints the text and returns 1
    runpy.run_path(str(SCRIPT), run_name="__main__")
  assert ended.value.code == "grass.png: no face found"
  assert not (tmp_path / "out.glb").exists()
