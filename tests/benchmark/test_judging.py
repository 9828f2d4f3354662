"""Methods judged on a tiny set: numbers, problems, tables, page, command."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from affjax import benchmark
from affjax.benchmark import _contestants, _judging
from affjax.eval import RETRIEVALS, Heads, chosen
from affjax.export import OutputError, Reconstruction
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.types import Camera
from tests.command_line import run


class _Halfway:
  """A method that halves the error of the mean head, and fails in known ways."""

  about = "half of the way"

  def heads_in(self, photos):
    vertices = 0.5 * (photos.vertices + photos.template.vertices)
    if len(photos) > 2:
      vertices[1, 0] = np.nan
    index = [k for k in range(len(photos)) if k != 2]
    heads = chosen(Heads(vertices.astype(np.float32), photos.pose), index)
    return benchmark.Answer(index, heads, {2: "the file is missing"})


def test_a_method_is_judged_beside_the_mean_head(samples, few_measures):
  judgment = benchmark.judge(_Halfway(), samples)
  assert judgment.problems == {
    "000001": "NaN or infinity in the vertices",
    "000002": "the file is missing",
  }
  result = benchmark.as_json(judgment)
  (row,) = (
    row
    for row in result["rows"]
    if row["measure"] == "position, similarity"
    and "part" not in row
    and "stratum" not in row
  )
  assert row["n"] == 1
  assert row["ratio"] == pytest.approx(0.5, abs=0.02)
  text = benchmark.as_text(judgment, "halfway")
  assert "without a head: 1 (the file is missing): 000002" in text
  # The mean head has no pose in a gray photo: nothing is compared in silence.
  assert "rotation" in text
  json.dumps(result, allow_nan=False)


def test_the_page_shows_pictures_and_tables(samples, few_measures, tmp_path):
  judgment = benchmark.judge(_Halfway(), samples)
  out = tmp_path / "out"
  out.mkdir()
  page = benchmark.write_page(out, judgment, _Halfway(), samples, what="<half>")
  text = page.read_text()
  assert "Best: 000000" in text
  assert "&lt;half&gt; on embedded" in text
  assert "the file is missing" in text
  pictures = sorted(path.name for path in (out / "pictures").iterdir())
  assert pictures == [f"best_{k}.jpg" for k in range(4)]
  assert all(f"pictures/{name}" in text for name in pictures)
  benchmark.write_page(out, judgment, _Halfway(), samples, what="again")
  page.write_text("<html>mine")
  with pytest.raises(OutputError, match="not a page of affjax"):
    benchmark.write_page(out, judgment, _Halfway(), samples, what="half")


@dataclasses.dataclass(frozen=True)
class _Reconstructor:
  """Gives the mean head, half as large as the crop shows it."""

  model: object
  about: str = "the mean head in a crop"

  def heads_of(self, pixels: np.ndarray, path: pathlib.Path) -> list[Reconstruction]:
    if path.stem == "000001":
      raise ValueError("no face found")
    template = self.model.template
    table = uv.uv_table(template, 64)
    return [
      Reconstruction(
        template=template,
        camera=Camera(),
        crop_image=np.zeros((32, 32, 3), np.float32),
        crop=np.array([[0.5, 0, 0], [0, 0.5, 0]]),
        position=np.asarray(uv.map_from_vertices(template.vertices, table)),
        diffuse=np.full((64, 64, 3), 0.5, np.float32),
        light=np.ones((8, 8, 1), np.float32),
        light_color=np.ones(3, np.float32),
        pose=np.array([0, 0.3, 0, 0, 0, 0], np.float32),
        found={},
        notes={},
      )
    ]


class _True:
  """A method that knows the truth, but for one photo."""

  about = "the truth"

  def heads_in(self, photos):
    some = chosen(photos, range(min(len(photos), 2)))
    heads = Heads(some.vertices, some.pose, some.diffuse, some.light)
    return benchmark.Answer(list(range(len(some))), heads, {})


def test_a_head_is_looked_for_among_the_photos_of_the_whole_set(samples, monkeypatch):
  names = tuple(RETRIEVALS)
  whole = benchmark.judge(_True(), samples, measures=names)
  monkeypatch.setattr(_judging, "_CHUNK", 1)
  parts = benchmark.judge(_True(), samples, measures=names)
  for name in names:
    assert len(parts.values[name][""]) == 3
    np.testing.assert_array_equal(
      parts.values[name][""][:2], whole.values[name][""][:2]
    )
  # Each would be the first of its own chunk; the photos are gray, and none looks like
  # one of the heads.
  assert parts.values[names[0]][""].mean() < 1


def test_a_reconstructor_is_judged_in_the_camera_of_the_photo(samples):
  method = _contestants.Reconstructed(_Reconstructor(open_head("embedded")))
  answer = method.heads_in(samples.load([0, 1, 2]))
  assert tuple(answer.index) == (0, 2)
  assert answer.problems == {1: "no face found"}
  # The crop is the photo at half the size: the pose is the same, but for half a pixel.
  np.testing.assert_allclose(answer.heads.pose[0], [0, 0.3, 0, 0, 0, 0], atol=0.05)
  assert answer.heads.diffuse.shape == (2, 64, 64, 3)


def test_heads_of_another_topology_are_refused(samples):
  model = open_head("embedded")
  other = dataclasses.replace(model.template, faces=model.template.faces[::-1].copy())
  method = _contestants.Reconstructed(
    _Reconstructor(dataclasses.replace(model, template=other))
  )
  with pytest.raises(ValueError, match="heads must have the topology of 'embedded'"):
    method.heads_in(samples.load([0]))


def test_commands(painting, few_measures, monkeypatch, tmp_path):
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path))
  answer = run("evaluate", "mean", "--on", "embedded", "--limit", 2)
  assert answer.exit_code == 2
  assert "affjax benchmark embedded --limit 2" in answer.stderr
  answer = run("benchmark", "embedded", "--limit", 3)
  assert answer.exit_code == 0, answer.stderr
  assert answer.stdout.startswith("3 samples, SHA-256 ")
  out = tmp_path / "out"
  answer = run("evaluate", "mean", "--on", "embedded", "--limit", 2, "-o", out)
  assert answer.exit_code == 0, answer.stderr
  assert answer.stdout.startswith("mean on embedded: 2 photos, mean head")
  result = json.loads((out / "result.json").read_text())
  assert result["photos"] == 2
  assert all(row["ratio"] in (1.0, None) for row in result["rows"])
  assert (out / "index.html").exists()
  (tmp_path / "empty").mkdir()
  answer = run("evaluate", "mean", "--on", tmp_path / "empty")
  assert answer.exit_code == 2
  assert "neither a benchmark set nor a photo" in answer.stderr
  answer = run("evaluate", tmp_path / "empty", "--on", "embedded", "--limit", 2)
  assert answer.exit_code == 2
  assert "neither a trained run nor a mesh of any photo" in answer.stderr
  assert run("evaluate", "magic", "--on", "embedded").exit_code == 2
  assert run("evaluate", "fit", "--on", "embedded", "--limit", -1).exit_code == 2
