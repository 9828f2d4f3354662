"""Measures whether the fit looks like the person, and how well the encoder can tell.

    python -m experiments.tables.identity PHOTOS... [--people LFW.tar] [--weights FILE]
        [--synthetic 24] [--out out/identity]

Encoder (`--weights`: a checkpoint of Light CNN instead of the embedded one):

- `people`: pairs of photos of one person and of two, from an archive of photos named
  `Some_One_0001.jpg`;
- `synthetic`: the same with painted photos; identity, skin and hair are a person's, and
  pose, expression, light, background and occluders change between photos. `shape`: the
  skin and hair of all people are the same, too, and only the head's shape differs.

Each with the cosine of both kinds of pair, the area under the ROC curve, the share of
pairs of one person that are found where one of a hundred pairs of two is taken for one,
and how often the nearest other photo is of the same person.

Fit: the largest face of each photo of the folders is fitted as `affjax fit` does it and
rendered over gray, 256 px, lit in its pose and unlit from the front. Prints cosine with
the photo, distance, top-1 and top-5, with 95 % bootstrap intervals over photos, for

- `fit`: its shape and colors;
- `fit, plain skin`: its shape, with the mean head's colors under a fixed light;
- `mean shape`: the mean head's shape in its best pose, with colors read off the photo;
- `mean head`: that shape with the mean head's colors and that light: the baseline;
- `stranger`: photos of two people, for cosine and distance only.

Photos whose faces are one person's as the encoder sees it (distance below 0.4) would
make retrieval ambiguous: only the first of them counts. Writes
`experiments/results/identity.json`, and with `--out` a sheet of photos and renders;
sheets of private photos are private too. About ten minutes on a core of its own.
"""

import argparse
import functools
import io
import pathlib
import tarfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from affjax.data import SyntheticFaces
from affjax.eval import (
  face_chips,
  identity_cosine,
  identity_distance,
  identity_features,
  retrieval,
  summary,
)
from affjax.export import Reconstruction, to_uint8
from affjax.faces import (
  PhotoError,
  find_in_all,
  read_colors,
  read_photo,
  solve_pose,
  visible_skin,
  warp,
)
from affjax.geometry import mesh, uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head
from affjax.models import IdentityNet, load_identity
from affjax.photos import FitReconstructor, gather
from affjax.render import render_head, shade
from affjax.types import Camera, Template
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "identity.json"
SIZE, MAP_SIZE, GRAY, SAME = 256, 256, 0.5, 0.4
VIEWS = ("lit, in its pose", "unlit, from the front")


class Look(NamedTuple):
  """A head to render: vertices, pose, diffuse map, light map."""

  vertices: np.ndarray
  pose: np.ndarray
  diffuse: np.ndarray
  light: np.ndarray


class Seen(NamedTuple):
  """Pictures of faces and their 68 landmarks, px."""

  pictures: list[np.ndarray]
  landmarks: list[np.ndarray]

  def features(self, net: IdentityNet) -> np.ndarray:
    """Embeddings of the faces."""
    return identity_features(self.pictures, np.stack(self.landmarks), net)


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("photos", nargs="+", type=pathlib.Path)
  parser.add_argument("--people", type=pathlib.Path)
  parser.add_argument("--weights", default="embedded")
  parser.add_argument("--synthetic", type=int, default=24)
  parser.add_argument("--seed", type=int, default=7)
  parser.add_argument("--out", type=pathlib.Path)
  parser.add_argument("--results", type=pathlib.Path, default=RESULT)
  options = parser.parse_args()
  net = load_identity(options.weights)
  encoder: dict[str, Any] = {}
  if options.people:
    encoder["people"] = separation(*people(options.people), net)
  for name in ("synthetic", "shape"):
    encoder[name] = separation(*painted(options.synthetic, options.seed, name), net)
  for name, row in encoder.items():
    print(f"{name:12} {row}")
  fit = fitted(options.photos, net, options.out)
  for name, row in fit["rows"].items():
    print(f"{name:40} {row}")
  measuring.write_json(
    options.results,
    {
      "command": "python -m experiments.tables.identity PHOTOS... --people LFW.tar",
      "encoder": net.name,
      "seed": options.seed,
      "machine": measuring.machine("cpu", 1),
      "separation": encoder,
      "fit": fit,
    },
  )


def people(archive: pathlib.Path, limit: int | None = None) -> tuple[Seen, list[str]]:
  """Returns the faces in the middle of an archive's photos, and their names."""
  with tarfile.open(archive) as tar:
    members = [m for m in tar.getmembers() if m.name.endswith((".jpg", ".png"))]
    members = members[:limit]
    names = [pathlib.Path(m.name).stem.rsplit("_", 1)[0] for m in members]
    photos = [_picture(tar.extractfile(member)) for member in members]
  return with_faces(photos, names)


def _picture(file: Any) -> np.ndarray:
  return np.array(Image.open(io.BytesIO(file.read())).convert("RGB"))


def painted(count: int, seed: int, which: str) -> tuple[Seen, list[str]]:
  """Returns the faces of painted photos, three of each person."""
  source = SyntheticFaces(
    open_head("embedded"), 4 * count, SIZE, seed=seed, split="test", map_size=MAP_SIZE
  )
  photos, names = [], []
  looks = source.parameters(0)
  for person in range(count):
    own = source.parameters(4 * person)
    looks = looks if which == "shape" else own
    for other in range(1, 4):
      scene = source.parameters(4 * person + other)
      scene = scene._replace(identity=own.identity, skin=looks.skin, hair=looks.hair)
      photos.append(to_uint8(np.asarray(source.paint(scene)["image"])))
      names.append(str(person))
  return with_faces(photos, names)


def with_faces(photos: list[np.ndarray], names: list[str]) -> tuple[Seen, list[str]]:
  """Returns the face nearest to the middle of each photo that has one."""
  seen, kept = Seen([], []), []
  for photo, name, faces in zip(photos, names, find_in_all(photos), strict=True):
    middle = np.array(photo.shape[1::-1]) / 2
    if faces:
      off = [np.linalg.norm(f.landmarks68.mean(0) - middle) for f in faces]
      seen.pictures.append(photo)
      seen.landmarks.append(faces[int(np.argmin(off))].landmarks68)
      kept.append(name)
  return seen, kept


def separation(seen: Seen, names: list[str], net: IdentityNet) -> dict[str, Any]:
  """Returns how well cosines tell pairs of one person from pairs of two."""
  features = seen.features(net)
  first, second = np.triu_indices(len(features), 1)
  cosine = np.asarray(identity_cosine(features[first], features[second]))
  distance = np.asarray(identity_distance(features[first], features[second]))
  who = np.array(names)
  one = who[first] == who[second]
  table = np.full((len(who), len(who)), -2.0)
  table[first, second] = table[second, first] = cosine
  return {
    "photos": len(who),
    "people": len(set(names)),
    "cosine_same": _mean_std(cosine[one]),
    "cosine_different": _mean_std(cosine[~one]),
    "distance_same": _mean_std(distance[one]),
    "distance_different": _mean_std(distance[~one]),
    "auc": round(_auc(cosine[one], cosine[~one]), 4),
    "found_at_1_percent": round(
      float((cosine[one] > np.quantile(cosine[~one], 0.99)).mean()), 4
    ),
    "nearest_is_same": round(float((who[table.argmax(1)] == who).mean()), 4),
    "chance_of_nearest": round(
      float((who[:, None] == who).sum(1).mean() - 1) / (len(who) - 1), 4
    ),
  }


def _mean_std(values: np.ndarray) -> list[float]:
  return [round(float(values.mean()), 3), round(float(values.std()), 3)]


def _auc(same: np.ndarray, different: np.ndarray) -> float:
  """Share of pairs of pairs in which the same person's is the more similar one."""
  below = np.searchsorted(np.sort(different), same, "left")
  equal = np.searchsorted(np.sort(different), same, "right") - below
  return float((below + equal / 2).mean() / len(different))


def fitted(
  folders: list[pathlib.Path],
  net: IdentityNet,
  out: pathlib.Path | None,
) -> dict[str, Any]:
  """Returns cosine, distance and retrieval of renders of the photos' heads."""
  method = FitReconstructor(open_head("embedded"), map_size=MAP_SIZE)
  photos, renders = Seen([], []), {}
  failures = []
  for path in gather(folders).photos:
    pixels = read_photo(path)
    try:
      head = method.heads_of(pixels, path)[0]
    except PhotoError:
      failures.append(path.name)
      continue
    photos.pictures.append(pixels)
    photos.landmarks.append(np.array(head.found["landmarks68_px"]))
    for name, look in looks_of(head, method.plain).items():
      for view in VIEWS:
        picture, landmarks = rendered(look, head.template, head.camera, view)
        renders.setdefault(f"{name} | {view}", Seen([], []))
        renders[f"{name} | {view}"].pictures.append(picture)
        renders[f"{name} | {view}"].landmarks.append(landmarks)
  own = photos.features(net)
  kept = distinct(own)
  found = {
    name: measures(own[kept], seen.features(net)[kept])
    for name, seen in renders.items()
  }
  found["stranger"] = strangers(own[kept])
  # The view of a name is what follows its bar; strangers have none.
  base = lambda name: found[f"mean head | {name.partition(' | ')[2] or VIEWS[0]}"]
  rows = {
    name: {
      measure: summarized(values, base(name)[measure])
      for measure, values in row.items()
    }
    for name, row in found.items()
  }
  if out:
    out.mkdir(parents=True, exist_ok=True)
    sheet(photos, renders).save(out / "identity.png")
  n = len(kept)
  return {
    "photos": len(own),
    "distinct_people": n,
    "without_face": len(failures),
    "chance": {"top1": round(1 / n, 4), "top5": round(5 / n, 4)},
    "rows": rows,
  }


def looks_of(head: Reconstruction, plain: np.ndarray) -> dict[str, Look]:
  """Returns the heads that are compared with a photo."""
  template, camera = head.template, head.camera
  ones = np.ones_like(head.light)
  vertices = head.mesh.vertices
  px = warp.transform(head.crop, np.array(head.found["landmarks68_px"]))
  marks = template.landmark_positions(template.vertices)
  pose = solve_pose(marks, px, camera, len(head.crop_image)).astype(np.float32)
  image = np.rint(head.crop_image * 255).astype(np.uint8)
  colors = read_colors(
    head.crop_image,
    visible_skin(image[None])[0],
    template.vertices,
    pose,
    template,
    camera,
    plain,
  )
  return {
    "fit": Look(vertices, head.pose, head.diffuse, head.light),
    "fit, plain skin": Look(
      vertices, head.pose, plain * shading(vertices, template), ones
    ),
    "mean shape": Look(template.vertices, pose, colors.diffuse, colors.light),
    "mean head": Look(
      template.vertices, pose, plain * shading(template.vertices, template), ones
    ),
  }


def shading(vertices: np.ndarray, template: Template) -> np.ndarray:
  """Returns the brightness of each texel under a light from above, left of the head."""
  normals = mesh.vertex_normals(jnp.asarray(vertices), template.faces)
  light = 0.5 + 0.6 * jnp.clip(normals @ jnp.array([-0.4, 0.5, 0.77]), 0, 1)
  table = uv.uv_table(template, MAP_SIZE)
  return np.asarray(uv.map_from_vertices(light[:, None], table))


def rendered(
  look: Look, template: Template, camera: Camera, view: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a head over gray, and its landmarks in the picture."""
  front = view == VIEWS[1]
  pose = np.zeros(6, np.float32) if front else look.pose
  light = np.ones_like(look.light) if front else look.light
  marks = template.landmark_positions(look.vertices)
  world = head_to_world(jnp.asarray(marks)[None], jnp.asarray(pose)[None])
  picture = _render(
    jnp.asarray(look.vertices),
    jnp.asarray(pose),
    jnp.asarray(look.diffuse),
    jnp.asarray(light),
    template=template,
    camera=camera,
  )
  px = np.asarray(world_to_px(world, camera, SIZE, SIZE))[0]
  return to_uint8(np.asarray(picture)), px


@functools.partial(jax.jit, static_argnames=("template", "camera"))
def _render(
  vertices: jax.Array,
  pose: jax.Array,
  diffuse: jax.Array,
  light: jax.Array,
  *,
  template: Template,
  camera: Camera,
) -> jax.Array:
  texture = shade(diffuse[None], light[None], jnp.ones((1, 3)))
  world = head_to_world(vertices[None], pose[None])
  color, alpha = render_head(world, texture, template, camera, (SIZE, SIZE))
  return (color + (1 - alpha) * GRAY)[0]


def distinct(features: np.ndarray) -> list[int]:
  """Returns the indices of the faces that are no one's who came before."""
  kept: list[int] = []
  for k, one in enumerate(features):
    apart = [float(np.linalg.norm(one - features[j])) for j in kept]
    if min(apart, default=np.inf) > SAME:
      kept.append(k)
  return kept


def measures(photos: np.ndarray, renders: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the values of each photo."""
  values = {
    "cosine": identity_cosine(renders, photos),
    "distance": identity_distance(renders, photos),
    "top1": retrieval(renders, photos, top=1),
    "top5": retrieval(renders, photos, top=5),
  }
  return {name: np.asarray(value) for name, value in values.items()}


def strangers(photos: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the means over all other photos."""
  others = [measures(np.roll(photos, k, 0), photos) for k in range(1, len(photos))]
  return {
    name: np.mean([other[name] for other in others], 0)
    for name in ("cosine", "distance")
  }


def summarized(values: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
  """Returns the mean of a measure, its interval and the mean head's mean."""
  found = summary(values, baseline)
  rounded = lambda *numbers: [round(float(number), 4) for number in numbers]
  return {
    "mean": rounded(found.mean)[0],
    "interval": rounded(*found.interval),
    "mean_head": rounded(found.baseline)[0],
    "n": found.n,
  }


def sheet(photos: Seen, renders: dict[str, Seen]) -> Image.Image:
  """Draws a column for each photo: its aligned face and those of the renders."""
  rows = [
    face_chips(s.pictures, np.stack(s.landmarks)) for s in (photos, *renders.values())
  ]
  picture = np.concatenate([np.concatenate(list(row), 1) for row in rows])
  return Image.fromarray(to_uint8(picture))


if __name__ == "__main__":
  main()
