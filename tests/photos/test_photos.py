"""From photos to files: what is written, what is refused, and that nothing is lost."""

import dataclasses
import json
import pathlib
import types as namespaces

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax import photos, types
from affjax.export import (
  CARD_FOLDER,
  FILES,
  OutputError,
  _images,
  _projection,
  head_files,
)
from affjax.faces import Face
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.photos import _by_networks, _writer

SIZE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class MeanHead:
  """Networks that predict the template, in gray, for every photo."""

  template: types.Template
  camera: types.Camera = types.Camera()  # noqa: RUF009
  broken: bool = False
  guided: bool = False

  @property
  def networks(self) -> namespaces.SimpleNamespace:
    return namespaces.SimpleNamespace(side=SIZE, guided=self.guided)

  def with_map_size(self, side: int) -> "MeanHead":
    assert side == photos.ReconstructOptions.map_size
    return self

  @property
  def table(self) -> uv.UVTable:
    return uv.uv_table(self.template, SIZE)

  def __call__(self, params, photos, *, render, pose=None, guide=None):
    assert not render
    assert (guide is not None) == self.guided
    count = len(photos)
    position = uv.map_from_vertices(jnp.asarray(self.template.vertices), self.table)
    if guide is not None:
      position = uv.map_from_vertices(guide.vertices[0], self.table)
    if self.broken:
      position = position.at[0, 0, 0].set(jnp.nan)
    zero = jnp.zeros((count, SIZE, SIZE, 3))
    return types.Prediction(
      position=position[None] + zero,
      diffuse=zero + 0.6,
      light=jnp.ones((count, SIZE // 8, SIZE // 8, 1)),
      light_color=jnp.ones((count, 3)),
      pose=jnp.zeros((count, 6)) if pose is None else pose,
      vertices=jnp.zeros((count, 1, 3)),
      render=zero,
      alpha=zero[..., :1],
    )


@pytest.fixture(scope="module")
def template():
  return open_head("embedded").template


def make_run(template, *, broken=False, untrained=()):
  return namespaces.SimpleNamespace(
    head=open_head("embedded"),
    reconstructor=MeanHead(template, broken=broken),
    params=jnp.zeros(()),
    step=7,
    stage="stage3",
    untrained=untrained,
  )


def fake_face(template, *, scale=300.0, center=(150.0, 130.0), yaw=0.0):
  """A face whose landmarks are the template's, orthographic, turned by `yaw`."""
  corners = template.vertices[template.faces[template.landmark_faces]]
  points = np.sum(corners * template.landmark_weights[..., None], 1)
  turned = points @ _projection.rigid(np.array([0, yaw, 0, 0, 0, 0]))[:3, :3].T
  px = np.array(center) + turned[:, :2] * np.array([1, -1]) * scale / 4
  return Face(
    box=np.concatenate([px.min(0), px.max(0)]),
    score=0.9,
    landmarks=np.zeros((468, 3)),
    landmarks68=px,
  )


@pytest.fixture
def faces(monkeypatch, template):
  """Found faces by the photo's red corner: 0 = none, else that many."""

  def find_faces(photo):
    count = int(photo[0, 0, 0])
    return [fake_face(template, center=(110 + 70 * k, 130)) for k in range(count)]

  monkeypatch.setattr(_by_networks, "find_faces", find_faces)


def write_photo(path, *, count=1):
  pixels = np.full((260, 300, 3), 90, np.uint8)
  pixels[0, 0] = count
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path, format="PNG")
  return path


def go(paths, out, template, *, run=None, progress=lambda path, faces: None, **options):
  out.mkdir(exist_ok=True)
  return photos.reconstruct_photos(
    photos.gather(paths),
    out,
    run or make_run(template),
    photos.ReconstructOptions(**options),
    progress=progress,
  )


def names(place: pathlib.Path):
  """The files of a folder, without those of the cards, which only the page needs."""
  files = (p.relative_to(place) for p in place.rglob("*") if p.is_file())
  return sorted(str(p) for p in files if p.parent.name != CARD_FOLDER)


def test_good_photos_are_done_and_bad_ones_listed(tmp_path, template, faces):
  folder = tmp_path / "photos"
  write_photo(folder / "a.png", count=2)
  write_photo(folder / "nobody.png", count=0)
  (folder / "broken.jpg").write_bytes(b"\xff\xd8 no")
  (folder / "empty.png").write_bytes(b"")
  (folder / "notes.txt").write_text("x")
  write_photo(tmp_path / "b" / "a.png")
  seen = []
  report = go(
    [folder, tmp_path / "b" / "a.png", tmp_path / "missing.png"],
    tmp_path / "out",
    template,
    progress=lambda path, count: seen.append((path.name, count)),
  )
  assert (report.heads, report.photos) == (3, 2)
  reasons = {pathlib.Path(path).name: why for path, why in report.problems.items()}
  assert set(reasons) == {"nobody.png", "broken.jpg", "empty.png", "missing.png"}
  assert reasons["nobody.png"] == "no face found"
  assert all("\n" not in why and "Traceback" not in why for why in reasons.values())
  assert dict(seen)["nobody.png"] == 0
  expected = [
    f"{place}/{name}"
    for place in ("photos_a/face1", "photos_a/face2", "b_a/face1")
    for name in FILES
  ]
  expected += ["photos_a/photo.json", "b_a/photo.json"]
  expected += ["index.html", "problems.json"]
  assert names(tmp_path / "out") == sorted(expected)
  text = (tmp_path / "out" / "index.html").read_text()
  assert "no face found" in text
  assert 'href="b_a/face1/head.glb"' in text


@pytest.mark.parametrize("pose", ["landmarks", "network"])
def test_the_head_lies_on_the_face(tmp_path, template, faces, monkeypatch, pose):
  yaw = 0.0 if pose == "network" else 0.3
  face = fake_face(template, yaw=yaw)
  monkeypatch.setattr(_by_networks, "find_faces", lambda photo: [face])
  go([write_photo(tmp_path / "a.png")], tmp_path / "out", template, pose=pose)
  place = tmp_path / "out" / "a" / "face1"
  facts = json.loads((place / "pose.json").read_text())
  assert facts["made"]["pose_from"] == pose
  corners = template.vertices[template.faces[template.landmark_faces]]
  points = np.sum(corners * template.landmark_weights[..., None], 1)
  matrix = np.array(facts["projection_from_decimetres"])
  off = np.linalg.norm(_projection.project(points, matrix) - face.landmarks68, axis=-1)
  # The faked landmarks know no perspective, and the jaw weighs little in the fit.
  assert off.mean() < 5
  assert abs(facts["pose"]["in_photo_deg"]["yaw"] - np.degrees(yaw)) < 3
  overlay = _images.decoded((place / "overlay.png").read_bytes())
  x, y = np.round(face.landmarks68[30]).astype(int)
  np.testing.assert_allclose(overlay[y, x], 0.6 * 255, atol=3)
  assert (overlay[:3, :, :] != 150).any()


def test_results_are_replaced_only_when_asked(tmp_path, template, faces):
  path, out = write_photo(tmp_path / "a.png"), tmp_path / "out"
  go([path], out, template)
  (out / "a" / "face1" / "head.obj").write_text("old")
  report = go([path], out, template)
  assert "exists" in report.problems[str(path)]
  assert (out / "a" / "face1" / "head.obj").read_text() == "old"
  report = go([path], out, template, overwrite=True)
  assert not report.problems
  assert (out / "a" / "face1" / "head.obj").read_text() != "old"


def test_what_is_not_ours_is_never_replaced(tmp_path, template, faces):
  path, out = write_photo(tmp_path / "a.png"), tmp_path / "out"
  (out / "a").mkdir(parents=True)
  (out / "a" / "precious.txt").write_text("mine")
  report = go([path], out, template, overwrite=True)
  assert "not a result of affjax" in report.problems[str(path)]
  assert report.page is None
  assert names(out) == ["a/precious.txt"]
  (out / "index.html").write_text("<html>mine</html>")
  with pytest.raises(OutputError, match="not a page of affjax"):
    go([path], out, template, overwrite=True)


def test_a_failure_half_way_leaves_nothing(tmp_path, template, faces, monkeypatch):
  whole = head_files
  calls = []

  def fail_second(head, photo, **options):
    calls.append(head)
    if len(calls) == 2:
      raise MemoryError("no room")
    return whole(head, photo, **options)

  monkeypatch.setattr(_writer, "head_files", fail_second)
  path, out = write_photo(tmp_path / "a.png", count=2), tmp_path / "out"
  report = go([path], out, template)
  assert report.problems[str(path)] == (
    "bug: MemoryError: no room (set AFFJAX_DEBUG=1 for the traceback)"
  )
  assert names(out) == []
  assert list(out.iterdir()) == []


def test_a_bug_shows_its_traceback_on_request(
  tmp_path, template, faces, monkeypatch, capsys
):
  def fail(head, photo, **options):
    raise TypeError("our own")

  monkeypatch.setattr(_writer, "head_files", fail)
  monkeypatch.setenv("AFFJAX_DEBUG", "1")
  path = write_photo(tmp_path / "a.png")
  report = go([path], tmp_path / "out", template)
  assert report.problems[str(path)].startswith("bug: TypeError: our own")
  assert "Traceback (most recent call last)" in capsys.readouterr().err
  assert list((tmp_path / "out").iterdir()) == []


def test_interruption_leaves_only_whole_photos(tmp_path, template, faces, monkeypatch):
  paths = [write_photo(tmp_path / "a.png"), write_photo(tmp_path / "b.png")]
  whole = head_files

  def interrupt(head, photo, **options):
    if head.notes["photo"] == "b.png":
      raise KeyboardInterrupt
    return whole(head, photo, **options)

  monkeypatch.setattr(_writer, "head_files", interrupt)
  with pytest.raises(KeyboardInterrupt):
    go(paths, tmp_path / "out", template)
  out = tmp_path / "out"
  assert sorted(p.name for p in out.iterdir()) == ["a", "index.html"]
  assert 'href="a/face1/head.glb"' in (out / "index.html").read_text()


def test_networks_that_give_nan_are_a_problem(tmp_path, template, faces):
  path = write_photo(tmp_path / "a.png")
  report = go([path], tmp_path / "out", template, run=make_run(template, broken=True))
  reason = "the networks returned NaN or infinity in position"
  assert report.problems[str(path)] == reason


def test_untrained_networks_are_refused(faces, template, tmp_path):
  path = write_photo(tmp_path / "a.png")
  run = make_run(template, untrained=("diffuse", "light", "pose"))
  with pytest.raises(ValueError, match="weights of diffuse, light have not been tr"):
    go([path], tmp_path / "out", template, run=run)
  with pytest.raises(ValueError, match="weights of diffuse, light, pose have not"):
    go([path], tmp_path / "out", template, run=run, pose="network")
  run = make_run(template, untrained=("pose",))
  assert go([path], tmp_path / "out", template, run=run).heads == 1


def test_many_faces_pass_in_chunks(template):
  predict = photos.NetworkReconstructor(make_run(template)).predict
  images = np.zeros((11, SIZE, SIZE, 3), np.float32)
  maps = predict(images)
  assert maps["position"].shape == (11, SIZE, SIZE, 3)
  assert maps["pose"].shape == (11, 6)


def test_guided_networks_get_the_fit_and_the_visible_skin(
  monkeypatch, tmp_path, template, faces
):
  found = {}

  def fit(model, faces, crops, images, camera):
    found["photos"] = images.shape
    head = namespaces.SimpleNamespace(
      vertices=template.vertices * 1.1, pose=np.arange(6.0) / 100
    )
    return [head] * len(faces)

  monkeypatch.setattr(_by_networks, "fit_surface", fit)
  monkeypatch.setattr(
    _by_networks, "visible_skin", lambda images: np.ones((*images.shape[:3], 1), "f4")
  )
  run = make_run(template)
  run.reconstructor = MeanHead(template, guided=True)
  path = write_photo(tmp_path / "a.png", count=2)
  report = go([path], tmp_path / "out", template, run=run)
  assert report.heads == 2
  assert found["photos"] == (2, 512, 512, 3)
  place = tmp_path / "out" / "a" / "face1"
  # Guided networks correct the pose of the fit, which landmarks would not improve.
  assert json.loads((place / "pose.json").read_text())["made"]["pose_from"] == "network"
  position = np.load(place / "position.npy")
  table = uv.uv_table(template, SIZE)
  want = np.asarray(uv.map_from_vertices(template.vertices * np.float32(1.1), table))
  np.testing.assert_allclose(position, want, atol=1e-5)


def test_gathering(tmp_path):
  write_photo(tmp_path / "in" / "b.PNG")
  write_photo(tmp_path / "in" / "a.jpeg")
  write_photo(tmp_path / "in" / "deeper" / "c.png")
  (tmp_path / "in" / "x.txt").write_text("")
  (tmp_path / "void").mkdir()
  inputs = photos.gather(
    [
      tmp_path / "in",
      tmp_path / "in" / "a.jpeg",
      tmp_path / "in" / "x.txt",
      tmp_path / "void",
      tmp_path / "gone.png",
    ]
  )
  assert [p.name for p in inputs.photos] == ["a.jpeg", "b.PNG", "x.txt", "gone.png"]
  assert inputs.ignored == 2
  assert dict(inputs.problems) == {str(tmp_path / "void"): "no photos in this folder"}


def test_gathering_deeper(tmp_path):
  for name in ("alice/001.jpg", "bob/001.jpg", "bob/x/002.jpg", ".trash/003.jpg"):
    write_photo(tmp_path / "in" / name)
  assert photos.gather([tmp_path / "in"]).problems == {
    str(tmp_path / "in"): "no photos in this folder; --recursive searches the folders "
    "inside of it"
  }
  inputs = photos.gather([tmp_path / "in"], recursive=True)
  found = [str(p.relative_to(tmp_path / "in")) for p in inputs.photos]
  assert found == ["alice/001.jpg", "bob/001.jpg", "bob/x/002.jpg"]
  assert not inputs.problems
  assert inputs.ignored == 0


def test_side_files_are_ignored_in_silence(tmp_path):
  write_photo(tmp_path / "IMG_1.png")
  for name in ("._IMG_1.png", ".DS_Store", "Thumbs.db", "IMG_1.AAE"):
    (tmp_path / name).write_bytes(b"\0\x05\x16\x07")
  for paths in ([tmp_path], [tmp_path / "IMG_1.png", tmp_path / "._IMG_1.png"]):
    inputs = photos.gather(paths)
    assert [p.name for p in inputs.photos] == ["IMG_1.png"]
    assert (inputs.ignored, dict(inputs.problems)) == (0, {})
  alone = photos.gather([tmp_path / "._IMG_1.png"])
  assert list(alone.problems.values()) == ["not a photo"]


def test_results_say_whose_they_are(tmp_path, template, faces):
  """Photos of one name in two folders, and a device's name."""
  for name in ("alice/001.png", "bob/001.png", "bob/CON.png"):
    write_photo(tmp_path / "in" / name)
  out = tmp_path / "out"
  out.mkdir()
  report = photos.reconstruct_photos(
    photos.gather([tmp_path / "in"], recursive=True), out, make_run(template)
  )
  assert (report.heads, report.problems) == (3, {})
  assert sorted(p.name for p in out.iterdir() if p.is_dir()) == [
    *("alice_001", "bob_001", "bob_CON")
  ]
  text = (out / "index.html").read_text()
  for folder, name in (("alice_001", "alice/001.png"), ("bob_001", "bob/001.png")):
    facts = json.loads((out / folder / "face1" / "pose.json").read_text())
    assert facts["made"]["photo"] == name
    assert f"<h2>{name}<small>" in text


@pytest.mark.usefixtures("unchecked_shapes")
def test_unknown_pose_is_refused(tmp_path, template):
  with pytest.raises(ValueError, match="pose must be one of auto, landmarks, network"):
    go([], tmp_path / "out", template, pose="guess")
