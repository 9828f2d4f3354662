"""`affjax fit` on the astronaut in many guises, and on what is no photo of a face."""

import importlib.resources
import json
import pathlib

import numpy as np
import pytest
import trimesh
from PIL import Image

import affjax
from affjax import photos
from affjax.export import CARD_FOLDER, FILES, head_mesh, obj_text
from affjax.geometry import uv
from affjax.heads import open_head, plain_diffuse
from tests.command_line import run, run_process
from tests.export.gltf import parse

MAP = 64


@pytest.fixture(scope="module")
def astronaut():
  path = importlib.resources.files(affjax) / "assets" / "astronaut.jpg"
  with path.open("rb") as file:
    return Image.open(file).convert("RGB")


@pytest.fixture(scope="module")
def done(astronaut, tmp_path_factory):
  """One run over a folder of everything: the output folder and what was said."""
  folder = tmp_path_factory.mktemp("photos")
  small = astronaut.resize((384, 384), Image.Resampling.LANCZOS)
  small.save(folder / "color.png")
  both = Image.new("RGB", (768, 384))
  both.paste(small, (0, 0))
  both.paste(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (384, 0))
  both.save(folder / "two.png")
  Image.new("RGB", (7, 5)).save(folder / "tiny.png")
  noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
  Image.fromarray(noise).save(folder / "nobody.png")
  (folder / "cut.png").write_bytes((folder / "color.png").read_bytes()[:3000])
  out = tmp_path_factory.mktemp("fit") / "out"
  result = run("fit", folder, "-o", out, "--map-size", MAP)
  return out, result


def test_every_face_is_written_and_the_rest_is_named(done):
  out, result = done
  assert result.exit_code == 1
  assert "3 heads from 2 photos (2 good, 0 unsure, 3 failed): " in result.stdout
  for name in ("tiny.png", "nobody.png", "cut.png"):
    assert result.stderr.count(name) == 1
  assert "Traceback" not in result.output
  written = sorted(str(p.parent.relative_to(out)) for p in out.glob("*/*/pose.json"))
  assert written == ["color/face1", "two/face1", "two/face2"]
  for folder in written:
    assert {p.name for p in (out / folder).iterdir()} == {*FILES, CARD_FOLDER}


def facts(out: pathlib.Path, face: str) -> dict:
  return json.loads((out / face / "pose.json").read_text())


def test_the_fit_is_good_and_says_so(done):
  notes = facts(done[0], "color/face1")["made"]
  assert facts(done[0], "color/face1")["confidence"] > 0.9
  assert facts(done[0], "color/face1")["unsure"] is False
  assert notes["inner_error_percent"] < 1.8
  assert notes["contour_error_percent"] < 4
  assert notes["converged"] is True
  assert notes["model"] == "embedded"
  assert len(notes["identity"]) == open_head("embedded").identity_basis.shape[0]
  assert any("mile" in name and v > 0.1 for name, v in notes["expression"].items())


def test_the_head_on_the_photo_looks_like_the_photo(done, astronaut):
  """Inside the face, the painted head is nearer to the photo than one plain color."""
  folder = done[0] / "color" / "face1"
  crop = np.asarray(Image.open(folder / "crop.png").convert("RGB"), float)
  render = np.asarray(Image.open(folder / "render.png"), float)
  assert render.shape == (512, 512, 4)
  crop = np.asarray(Image.fromarray(crop.astype(np.uint8)).resize((512, 512)), float)
  rows, columns = slice(230, 400), slice(170, 340)
  assert (render[rows, columns, 3] == 255).mean() > 0.99
  error = np.abs(render[rows, columns, :3] - crop[rows, columns]).mean()
  flat = np.abs(crop[rows, columns] - crop[rows, columns].mean((0, 1))).mean()
  assert error < 0.5 * flat


def test_maps_and_mesh_agree(done):
  folder = done[0] / "color" / "face1"
  position = np.load(folder / "position.npy")
  assert position.shape == (MAP, MAP, 3)
  table = uv.uv_table(open_head("embedded").template, MAP)
  again = np.asarray(uv.vertices_from_map(position, table))
  mesh = trimesh.load(folder / "head.obj", process=False, force="mesh")
  assert trimesh.load(folder / "head.glb", force="mesh").faces.shape[0] > 1000
  nearest = trimesh.proximity.ProximityQuery(
    trimesh.Trimesh(mesh.vertices * 10, mesh.faces, process=False)
  ).vertex(again)[0]
  assert np.median(nearest) < 1e-3


def test_the_glb_has_arkit_targets_and_the_fitted_weights(done):
  content = (done[0] / "color" / "face1" / "head.glb").read_bytes()
  document, _ = parse(content)
  head, left, right = document["meshes"]
  assert set(head["extras"]["targetNames"]) == set(
    open_head("embedded").expression_names
  )
  named = zip(head["extras"]["targetNames"], head["weights"], strict=True)
  fitted = facts(done[0], "color/face1")["made"]["expression"]
  assert dict(named) == pytest.approx(fitted, abs=1e-4)
  assert [mesh["name"] for mesh in (left, right)] == ["eyeLeft", "eyeRight"]
  assert len(content) < 4_000_000


def test_mirrored_faces_are_mirrored_fits(done):
  left, right = (facts(done[0], f"two/face{k}")["made"] for k in (1, 2))
  close = np.subtract(left["identity"], right["identity"])
  assert np.abs(close).mean() < 0.3


def test_the_same_command_with_resume_skips_what_is_done(done):
  out, _ = done
  before = {p: p.stat().st_mtime_ns for p in out.glob("*/face*/*")}
  photo = json.loads((out / "color" / "photo.json").read_text())["photo"]
  again = run(
    *("fit", pathlib.Path(photo).parent, "-o", out, "--map-size", MAP, "--resume")
  )
  assert again.exit_code == 1, "the photos without a face are tried again"
  counts = "0 good, 0 unsure, 3 failed, 2 finished before"
  assert f"0 heads from 0 photos ({counts}): " in again.stdout
  assert {p: p.stat().st_mtime_ns for p in out.glob("*/face*/*")} == before
  text = (out / "index.html").read_text()
  assert text.count('class="stage"') == 3
  assert "nobody.png" in text


def test_results_are_kept_without_overwrite(done):
  before = (done[0] / "index.html").read_bytes()
  result = run("fit", done[0], "-o", done[0])
  assert result.exit_code == 2
  assert "overwrite" in result.stderr
  assert (done[0] / "index.html").read_bytes() == before


@pytest.mark.slow
def test_any_obj_with_uvs_is_a_template(tmp_path, astronaut):
  """The embedded head, widened and renamed, as a process that reads it from a file."""
  template = open_head("embedded").template
  wide = head_mesh(template.vertices * np.float32([1.06, 1, 1]), template)
  (tmp_path / "wide.obj").write_text(obj_text(wide, mtl_name="none.mtl"))
  astronaut.resize((384, 384), Image.Resampling.LANCZOS).save(tmp_path / "a.png")
  out = tmp_path / "out"
  result = run_process(
    *("fit", tmp_path / "a.png", "-o", out, "--map-size", MAP),
    *("--template", tmp_path / "wide.obj"),
  )
  assert result.exit_code == 0, result.stderr
  notes = facts(out, "a/face1")["made"]
  assert notes["model"] == "wide"
  assert notes["inner_error_percent"] < 3
  mesh = trimesh.load(out / "a/face1/head.obj", process=False, force="mesh")
  assert len(mesh.faces) == len(template.faces)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    (("--template", "no/such/file"), "no such file or folder"),
    (("--template", "{file}"), "must be a folder or end in .mat, .h5"),
    (("--template", "{folder}"), "ICT"),
    (("--map-size", "100"), "multiple of 8"),
    (("--map-size", "8"), "map_size"),
  ],
)
def test_bad_options_are_one_line(options, words, tmp_path, astronaut):
  astronaut.save(tmp_path / "a.jpg")
  named = {"file": tmp_path / "a.jpg", "folder": tmp_path}
  out = tmp_path / "out"
  result = run(
    *("fit", tmp_path / "a.jpg", "-o", out), *(o.format(**named) for o in options)
  )
  assert result.exit_code == 2
  assert words in result.stderr
  assert result.stderr.count("\n") == 1
  assert not list(tmp_path.glob("out/*"))


def test_without_colors_the_map_is_the_plain_one(astronaut, tmp_path):
  small = astronaut.resize((384, 384), Image.Resampling.LANCZOS)
  small.save(tmp_path / "a.png")
  out = tmp_path / "out"
  out.mkdir()
  report = photos.fit_photos(
    photos.gather([tmp_path / "a.png"]),
    out,
    photos.FitOptions(map_size=MAP, photometric=False),
  )
  assert (report.heads, report.problems) == (1, {})
  written = np.asarray(Image.open(out / "a/face1/diffuse.png").convert("RGB")) / 255
  np.testing.assert_allclose(
    written, plain_diffuse(open_head("embedded").template, MAP), atol=1 / 255
  )


def test_photos_of_one_person_share_the_identity(astronaut, tmp_path):
  small = astronaut.resize((256, 256), Image.Resampling.LANCZOS)
  small.save(tmp_path / "one.png")
  small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "two.png")
  out = tmp_path / "out"
  options = ("--same-person", "--no-photometric")
  result = run(
    "fit",
    tmp_path / "one.png",
    tmp_path / "two.png",
    "-o",
    out,
    "--map-size",
    MAP,
    *options,
  )
  assert result.exit_code == 0, result.output
  made = [
    json.loads((out / name / "face1/pose.json").read_text("utf-8"))["made"]
    for name in ("one", "two")
  ]
  assert made[0]["identity"] == made[1]["identity"]
  assert any(made[0]["identity"])
  vertices = len(open_head("embedded").template.vertices)
  assert all(len(m["deviation_mm_by_vertex"]) == vertices for m in made)
  assert made[0]["doubts"] == []


def test_one_person_needs_the_surface(tmp_path):
  options = ("--method", "landmarks", "--same-person")
  result = run("fit", tmp_path, "-o", tmp_path / "out", *options)
  assert result.exit_code == 2
  assert "same_person needs method 'surface'" in result.stderr
