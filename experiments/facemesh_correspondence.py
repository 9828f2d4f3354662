"""Where FaceMesh's 468 points and the 68 standard ones lie on a template's surface.

  python experiments/facemesh_correspondence.py                  (the embedded head)
  python experiments/facemesh_correspondence.py --obj HEAD.obj --landmarks HEAD.json \\
    --out head.npz --picture head.png

Synthetic photos of the head show the landmark network faces of which everything is
known. The surface under each point of each photo is brought to the mean head; where
the head is grazed or missed the photo does not count. The place is the geometric median
over photos and, mirrored, over those of the point on the other side. Without `--out`
the asset `affjax/assets/facemesh.npz` is written. 160 photos take about 5 minutes on 2
cores. Another template needs the 68 landmarks, to paint it as a face.
"""

import argparse
import hashlib
import pathlib

import numpy as np
from PIL import Image, ImageDraw
from scipy import optimize
from scipy.spatial.transform import Rotation

from affjax.data.synthetic.source import SyntheticFaces
from affjax.faces import find, mesh
from affjax.geometry import surface
from affjax.heads import embedded, template
from affjax.heads import landmarks as standard
from affjax.heads.morphable import MorphableModel
from affjax.types import Camera, Template

SIZE = 256
ASSET = pathlib.Path(__file__).parents[1] / "affjax/assets/facemesh.npz"
# Least cosine between normal and line of sight, largest yaw (rad), fewest photos.
FACING, YAW, FEWEST = 0.25, 0.7, 12
# FaceMesh's outline as MediaPipe lists it ("face oval").
# fmt: off
OVAL = (
  10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
  377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
  109,
)
# fmt: on


def photographed(model: MorphableModel, count: int):
  """FaceMesh's points (px), vertices and pose of each synthetic photo that shows one."""
  source = SyntheticFaces(model, count, SIZE, seed=5, split="train", occluders=0.0)
  for first in range(0, count, 16):
    records = [source[k] for k in range(first, min(first + 16, count))]
    found = find.find_in_all([r["image"] for r in records], smallest=1 / 8)
    for record, faces in zip(records, found, strict=True):
      if len(faces) == 1 and abs(record["pose"][1]) < YAW:
        yield faces[0].landmarks, record["vertices"], record["pose"]


def under(px, vertices, pose, head: Template):
  """Where on the mean head the surface under each pixel lies, NaN where there is none.

  Args:
    px: points `[K, 2]` of a picture of the standard camera.
    vertices: of the head that it shows.
    pose: of that head.
    head: the template.
  """
  camera = Camera()
  world = Rotation.from_rotvec(pose[:3]).apply(vertices) + pose[3:]
  focal = SIZE / 2 / np.tan(np.radians(camera.fov_deg) / 2)
  # The ray of each pixel, and every triangle of skin that looks at the camera.
  ray = (px - (SIZE - 1) / 2) * [1, -1] / focal
  ray = np.concatenate([ray, -np.ones((len(px), 1))], 1)
  corner = world[head.faces] - [0, 0, camera.distance]
  normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
  skin = head.face_groups == _skin(head)
  kept = np.flatnonzero(skin & ((normal * corner[:, 0]).sum(1) < 0))
  # Barycentric weights of the ray: ray = depth * (corners' mix), by Cramer's rule.
  a, b, c = np.moveaxis(corner[kept], 1, 0)
  weights = np.stack([ray @ np.cross(p, q).T for p, q in ((b, c), (c, a), (a, b))], -1)
  hit = (weights <= 1e-12).all(-1)  # all of one sign: inside
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


def mirrored(faces: np.ndarray) -> np.ndarray:
  """The FaceMesh point that takes each one's place in a mirrored picture."""
  left, right = faces[:, 33, :2], faces[:, 263, :2]
  x = (right - left) / np.linalg.norm(right - left, axis=1, keepdims=True)
  axes = np.stack([x, np.stack([-x[:, 1], x[:, 0]], 1)], 1)
  moved = faces[..., :2] - (left + right)[:, None] / 2
  unit = np.linalg.norm(right - left, axis=1)[:, None, None]
  mean = np.median(np.einsum("nkx,nax->nka", moved, axes) / unit, 0)
  distance = np.linalg.norm(mean[:, None] * [-1, 1] - mean[None], axis=-1)
  return optimize.linear_sum_assignment(distance + distance.T)[1]


def placed(seen: np.ndarray, mirror: np.ndarray, head: Template) -> dict:
  """Triangles, weights and sigma of points seen at `[N, K, 3]` of the mean head."""
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
    # Of a normal distribution in the plane: the median distance is 1.177 sigma.
    sigma[k] = np.median(np.linalg.norm(own - median[k], axis=1)) / 1.177
  lost = ~np.isfinite(sigma)
  if lost.any():
    print(f"points seen in fewer than {FEWEST} photos: {np.flatnonzero(lost).tolist()}")
    if lost.mean() > 0.05:
      raise SystemExit("too few photos in which the head's face is found")
    nearest = np.nanargmin(_apart(head, median, lost, mirror), 1)
    median[lost], sigma[lost] = median[nearest], np.nanmax(sigma[~lost])
  skin = np.flatnonzero(head.face_groups == _skin(head))
  triangle, weights = surface.nearest_points(median, head.vertices, head.faces[skin])
  return {
    "faces": skin[triangle].astype(np.int32),
    "weights": weights.astype(np.float32),
    "sigma": sigma.astype(np.float32),
  }


def _apart(head: Template, median, lost, mirror) -> np.ndarray:
  """Distance in index of lost points to the others: a rough stand-in of last resort."""
  del head, mirror
  apart = np.abs(np.flatnonzero(lost)[:, None] - np.arange(len(median))).astype(float)
  apart[:, lost] = np.nan
  return apart


def picture(head: Template, whole: dict, path: pathlib.Path) -> None:
  """The head from the front and from the side with the points, 68 in red."""
  size, views = 700, (0.0, 60.0)
  canvas = Image.new("RGB", (size * len(views), size), "white")
  draw = ImageDraw.Draw(canvas)
  for n, yaw in enumerate(views):
    turn = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
    turned = head.vertices @ turn.T
    corner = turned[head.faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    px = lambda p, n=n: (
      (p[..., 0] * 290 + size * (n + 0.5)).tolist(),
      (size * 0.45 - p[..., 1] * 290).tolist(),
    )
    for k in np.argsort(corner[..., 2].mean(1)):
      if normal[k, 2] > 0:
        shade = int(90 + 140 * normal[k, 2])
        draw.polygon(list(zip(*px(corner[k]), strict=True)), fill=(shade,) * 3)
    for name, radius, colour in (("", 2, (0, 90, 255)), ("68", 3, (230, 0, 0))):
      triangles = whole[f"faces{name}"]
      places = np.einsum("kc,kcx->kx", whole[f"weights{name}"], corner[triangles])
      seen = normal[triangles, 2] > 0
      for k, (x, y) in enumerate(zip(*px(places), strict=True)):
        contour = not name and whole["contour"][k]
        if seen[k]:
          box = (x - radius, y - radius, x + radius, y + radius)
          draw.ellipse(box, fill=(0, 160, 60) if contour else colour)
  canvas.quantize(64).save(path, optimize=True)


def main() -> None:
  """Photographs, looks under the points, writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--count", type=int, default=160, help="synthetic photos")
  parser.add_argument("--obj", type=pathlib.Path, help="a template instead of ours")
  parser.add_argument(
    "--landmarks", type=pathlib.Path, help="its 68, see heads.template"
  )
  parser.add_argument("--out", type=pathlib.Path, default=ASSET)
  parser.add_argument("--picture", type=pathlib.Path, help="a PNG to look at")
  arguments = parser.parse_args()
  model = embedded.load()
  if arguments.obj:
    if arguments.out == ASSET:
      parser.error("--obj needs --out: the asset is the embedded head's")
    head = template.load(arguments.obj, landmarks=arguments.landmarks).template
    none = np.zeros((0, len(head.vertices), 3), np.float32)
    model = MorphableModel(head, none, np.zeros(0, np.float32), none, ())
  shots = list(photographed(model, arguments.count))
  print(f"{len(shots)} photos of {arguments.count} show one face")
  if len(shots) < FEWEST:
    raise SystemExit(f"at least {FEWEST} are needed")
  whole = correspondence(shots, model.template)
  partial = arguments.out.with_suffix(".partial.npz")
  np.savez(partial, allow_pickle=False, **whole)
  partial.replace(arguments.out)
  data = arguments.out.read_bytes()
  print(f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
  inner = whole["sigma"][~whole["contour"]]
  print(f"sigma (mm): inner median {100 * np.median(inner):.2f}, "
        f"outline {100 * np.median(whole['sigma'][whole['contour']]):.2f}")  # fmt: skip
  if arguments.picture:
    picture(model.template, whole, arguments.picture)


def correspondence(shots, head: Template) -> dict[str, np.ndarray]:
  """Everything that the `.npz` holds, of `photographed` heads."""
  points = np.stack([shot[0] for shot in shots])
  marks = np.stack([mesh.standard68(p) for p in points])
  looks = [
    under(p[:, :2], *shot[1:], head) for p, shot in zip(points, shots, strict=True)
  ]
  looks68 = [under(p, *shot[1:], head) for p, shot in zip(marks, shots, strict=True)]
  contour = np.zeros(468, bool)
  contour[list(OVAL)] = True
  whole = placed(np.stack(looks), mirrored(points), head) | {"contour": contour}
  of68 = placed(np.stack(looks68), standard.MIRRORED, head)
  whole |= {f"{key}68": value for key, value in of68.items()}
  size = np.array([len(head.vertices), len(head.faces)], np.int32)
  return whole | {"template_size": size}


if __name__ == "__main__":
  main()
