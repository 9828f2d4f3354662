"""Finds FaceMesh's 468 points and the 68 standard landmarks on a template's surface.

  python -m experiments.assets.facemesh_correspondence             (the embedded head)
  python -m experiments.assets.facemesh_correspondence --head ict --out ict.npz
  python -m experiments.assets.facemesh_correspondence --obj HEAD.obj \\
    --landmarks HEAD.json --out head.npz --picture head.png

The landmark network looks at synthetic photos of the head, whose geometry is known. The
surface under each point of each photo is brought to the mean head; a photo does not
count where the point grazes or misses the head. The place is the geometric median over
photos and, mirrored, over those of the point on the other side. Without `--out` the
asset `affjax/assets/facemesh.npz` is written; its new hash goes into
`affjax/assets/store.py`. 160 photos take about 5 minutes on 2 cores. A template needs
the 68 landmarks, with which it is painted as a face.
"""

import argparse
import dataclasses
import hashlib
import pathlib

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from affjax import files
from affjax.faces import standard68
from affjax.geometry import camera as cameras
from affjax.geometry import surface
from affjax.heads import MorphableModel, load_template, open_head
from affjax.heads import landmarks as standard
from affjax.types import Camera, Template
from experiments.assets.landmark_correspondence import SIZE, Sample, mirrored, samples

ASSET = pathlib.Path(__file__).parents[2] / "affjax/assets/facemesh.npz"
# Least cosine between normal and line of sight, and least number of photos.
FACING, FEWEST = 0.25, 12
# FaceMesh's outline as MediaPipe lists it ("face oval").
# fmt: off
OVAL = (
  10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
  377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
  109,
)
# fmt: on
HEADS = ("embedded", "ict", "meingame")


def known(name: str) -> MorphableModel:
  """Returns one of `HEADS`; all but the embedded one need the shared folder."""
  if name == "embedded":
    return open_head("embedded")
  from experiments.tables import heads_at_hand

  if name == "ict":
    return heads_at_hand.ict()
  return rigid(heads_at_hand.meingame().template)


def rigid(head: Template) -> MorphableModel:
  """Returns a template as a model of one person without expressions."""
  none = np.zeros((0, len(head.vertices), 3), np.float32)
  return MorphableModel(head, none, np.zeros(0, np.float32), none, ())


def painted(model: MorphableModel) -> MorphableModel:
  """Returns the model with a group "skin", which the synthetic source paints."""
  names = model.template.group_names
  if "skin" not in names:
    names = ("skin", *names[1:])
  head = dataclasses.replace(model.template, group_names=names)
  return dataclasses.replace(model, template=head)


def under(
  px: np.ndarray, vertices: np.ndarray, pose: np.ndarray, head: Template
) -> np.ndarray:
  """Returns the place on the mean head of the surface under each pixel.

  Args:
    px: Points `[K, 2]` of a picture of the standard camera.
    vertices: Vertices of the head that it shows.
    pose: Pose of that head.
    head: Template.

  Returns:
    Places `[K, 3]`, NaN where the pixel misses or grazes the head.
  """
  camera = Camera()
  world = Rotation.from_rotvec(pose[:3]).apply(vertices) + pose[3:]
  # The ray of each pixel, and every triangle of skin that looks at the camera.
  ray = (px - (SIZE - 1) / 2) * [1, -1] / cameras.focal_px(camera, SIZE)
  ray = np.concatenate([ray, -np.ones((len(px), 1))], 1)
  corner = world[head.faces] - [0, 0, camera.distance]
  normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
  skin = head.face_groups == _skin(head)
  kept = np.flatnonzero(skin & ((normal * corner[:, 0]).sum(1) < 0))
  # Barycentric weights of the ray: ray = depth * (corners' mix), by Cramer's rule.
  a, b, c = np.moveaxis(corner[kept], 1, 0)
  weights = np.stack([ray @ np.cross(p, q).T for p, q in ((b, c), (c, a), (a, b))], -1)
  hit = (weights <= 1e-12).all(-1)  # inside, all are of one sign
  total = np.where(hit, weights.sum(-1), -1.0)
  weights /= total[..., None]
  depth = -np.einsum("ktc,tc->kt", weights, corner[kept][:, :, 2])
  best = np.where(hit, depth, np.inf).argmin(1)
  rows = np.arange(len(px))
  unit = normal[kept[best]] / np.linalg.norm(normal[kept[best]], axis=1, keepdims=True)
  facing = -(unit * ray).sum(1) / np.linalg.norm(ray, axis=1)
  mean = head.vertices[head.faces[kept[best]]]
  place = np.einsum("kc,kcx->kx", weights[rows, best], mean)
  return np.where((hit.any(1) & (facing > FACING))[:, None], place, np.nan)


def _skin(head: Template) -> int:
  names = list(head.group_names)
  return names.index("skin") if "skin" in names else 0


def placed(seen: np.ndarray, mirror: np.ndarray, head: Template) -> dict:
  """Returns triangles, weights and sigma of points seen at places `[N, K, 3]`."""
  both = np.concatenate([seen, seen[:, mirror] * [-1, 1, 1]])
  median = np.full(both.shape[1:], np.nan)
  sigma = np.full(len(median), np.inf)
  for k in range(len(median)):
    own = both[np.isfinite(both[:, k, 0]), k]
    if len(own) < FEWEST:
      continue
    median[k] = np.median(own, 0)
    for _ in range(50):  # Weiszfeld's iteration
      weight = 1 / np.maximum(np.linalg.norm(own - median[k], axis=1), 1e-3)
      median[k] = np.average(own, 0, weights=weight)
    # A normal distribution in the plane has a median distance of 1.177 sigma.
    sigma[k] = np.median(np.linalg.norm(own - median[k], axis=1)) / 1.177
  if not np.isfinite(sigma).all():
    lost = np.flatnonzero(~np.isfinite(sigma)).tolist()
    raise SystemExit(f"points seen in fewer than {FEWEST} photos: {lost}")
  skin = np.flatnonzero(head.face_groups == _skin(head))
  triangle, weights = surface.nearest_points(median, head.vertices, head.faces[skin])
  return {
    "faces": skin[triangle].astype(np.int32),
    "weights": weights.astype(np.float32),
    "sigma": sigma.astype(np.float32),
  }


def correspondence(faces: list[Sample], head: Template) -> dict[str, np.ndarray]:
  """Returns the arrays of the `.npz`, from photos of the head."""
  seen, seen68 = [], []
  for face in faces:
    points = np.concatenate([face.mesh, standard68(face.mesh)])
    places = under(points, face.vertices, face.pose, head)
    seen.append(places[:468])
    seen68.append(places[468:])
  contour = np.zeros(468, bool)
  contour[list(OVAL)] = True
  whole = placed(np.stack(seen), mirrored(faces), head) | {"contour": contour}
  of68 = placed(np.stack(seen68), standard.MIRRORED, head)
  whole |= {f"{key}68": value for key, value in of68.items()}
  size = np.array([len(head.vertices), len(head.faces)], np.int32)
  return whole | {"template_size": size}


def picture(head: Template, whole: dict, path: pathlib.Path) -> None:
  """Draws the head from the front and from the side with the points.

  FaceMesh's points are blue, those of its outline green, and the 68 red.
  """
  size, views = 700, (0.0, 60.0)
  canvas = Image.new("RGB", (size * len(views), size), "white")
  draw = ImageDraw.Draw(canvas)
  for n, yaw in enumerate(views):
    turn = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
    corner = (head.vertices @ turn.T)[head.faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    px = lambda p, n=n: p[..., :2] * [290, -290] + [size * (n + 0.5), size * 0.45]
    for k in np.argsort(corner[..., 2].mean(1)):
      if normal[k, 2] > 0:
        corners = [tuple(p) for p in px(corner[k]).tolist()]
        draw.polygon(corners, fill=(int(90 + 140 * normal[k, 2]),) * 3)
    outline = np.where(whole["contour"][:, None], [0, 150, 40], [0, 90, 255])
    for name, r, color in (("", 2, outline), ("68", 3, [[230, 0, 0]] * 68)):
      triangles = whole[f"faces{name}"]
      places = np.einsum("kc,kcx->kx", whole[f"weights{name}"], corner[triangles])
      for k, (x, y) in enumerate(px(places).tolist()):
        if normal[triangles[k], 2] > 0:
          draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(map(int, color[k])))
  canvas.quantize(128).save(path, optimize=True)


def main() -> None:
  """Makes the photos, finds the points and writes them."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--count", type=int, default=160, help="synthetic photos")
  parser.add_argument("--head", choices=HEADS, default="embedded")
  parser.add_argument("--obj", type=pathlib.Path, help="OBJ file of another head")
  parser.add_argument("--landmarks", type=pathlib.Path, help="JSON of its 68 landmarks")
  parser.add_argument("--out", type=pathlib.Path, default=ASSET)
  parser.add_argument("--picture", type=pathlib.Path, help="PNG of the points")
  options = parser.parse_args()
  if options.out == ASSET and (options.obj or options.head != "embedded"):
    parser.error("another head needs --out: the asset is the embedded head's")
  if options.obj and not options.landmarks:
    parser.error("--obj needs --landmarks, to paint the head as a face")
  if options.obj:
    model = rigid(load_template(options.obj, landmarks=options.landmarks).template)
  else:
    model = known(options.head)
  faces = samples(painted(model), options.count)
  print(f"{len(faces)} photos of {options.count} show one face")
  if len(faces) < FEWEST:
    raise SystemExit(f"at least {FEWEST} are needed")
  whole = correspondence(faces, model.template)
  with files.written_file(options.out) as partial, partial.open("wb") as file:
    np.savez(file, allow_pickle=False, **whole)
  data = options.out.read_bytes()
  print(f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
  inner = whole["sigma"][~whole["contour"]]
  outline = whole["sigma"][whole["contour"]]
  middle, outer = 100 * np.median(inner), 100 * np.median(outline)
  print(f"median sigma: {middle:.2f} mm, of the outline {outer:.2f} mm")
  print(f"from the template's own 68: {off(model, whole):.2f} mm in the median")
  if options.picture:
    picture(model.template, whole, options.picture)


def off(model: MorphableModel, whole: dict) -> float:
  """Returns the median distance of landmarks 17-67 from the template's own, mm."""
  head = model.template
  own = head.landmark_positions(head.vertices)
  found = head.surface_points(head.vertices, whole["faces68"], whole["weights68"])
  return float(100 * np.median(np.linalg.norm(own - found, axis=1)[17:]))


if __name__ == "__main__":
  main()
