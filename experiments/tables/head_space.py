"""How near the embedded head's identity space comes to real shapes: the oracle fit.

    AFFJAX_SHARED=../shared python -m experiments.tables.head_space
    python -m experiments.tables.head_space --asset old_head.npz --output old.json

Random shapes of ICT-FaceKit's light-stage statistics are the ground truth. Each is
fitted directly in 3D: a similarity and the identity modes, by closest points, the 68
landmarks and the prior N(0, 1). The error is the mean distance, mm, from the truth's
points within 0.95 dm of the nose tip to the fitted surface after a last similarity; the
ratio is to that of the mean head. Shapes of the odd modes set the amplitudes of the
space (`experiments/assets/head_amplitudes.py`), those of the even modes are held out.

"seen" counts what a scanner sees: the skin that is visible from outside. "inside" takes
every vertex of ICT, with eyeballs, mouth, teeth, gums and nostrils. A skin without them
can not come near those, whatever its modes: such points put a floor under the ratio.
Writes `results/head_space.json`.
"""

import argparse
import dataclasses
import itertools
import pathlib

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from affjax.assets import store
from affjax.geometry import surface
from affjax.heads import (
  MorphableModel,
  _matching,
  open_head,
  sample_identity,
)
from affjax.types import Template
from experiments.assets import head_space_parts
from experiments.benchmarks import measuring
from experiments.tables import heads_at_hand

OUTPUT = pathlib.Path(__file__).parents[1] / "results" / "head_space.json"
SPLITS = {"odd": slice(1, None, 2), "even": slice(0, None, 2), "all": slice(None)}
# Radius around the nose tip of the points that count, and of those that pull, dm.
_RADIUS, _PULL_RADIUS = 0.95, 1.1
# Every third vertex of the truth is enough.
_EVERY = 3
# Rounds of the fit: standard deviation of a closest point along the normal and across,
# and of the inner landmarks, dm; the 17 of the jaw have none.
_ROUNDS = (*[(0.08, 0.3, 0.03)] * 3, *[(0.04, 0.2, 0.08)] * 4, *[(0.02, 0.2, 0.2)] * 6)
# Points further than so many standard deviations lose their pull.
_ROBUST, _BOUND = 4.0, 3.0
_FIRST_INNER = 17


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
  """A shape to fit, dm.

  Attributes:
    points: float64 `[P, 3]`, its vertices that pull.
    counts: bool `[P]`, those within the radius of the error.
    landmarks: float64 `[68, 3]`.
  """

  points: np.ndarray
  counts: np.ndarray
  landmarks: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
  """The modes of a model, laid out for the fit.

  Attributes:
    mean: float64 `[V, 3]`.
    faces: int `[T, 3]` of the skin.
    basis: float32 `[V, 3 K]`, the modes fastest.
    landmark_corners: int `[68, 3]`.
    landmark_weights: float64 `[68, 3]`.
  """

  mean: np.ndarray
  faces: np.ndarray
  basis: np.ndarray
  landmark_corners: np.ndarray
  landmark_weights: np.ndarray

  def at(self, coefficients: np.ndarray) -> np.ndarray:
    """Vertices `[V, 3]`."""
    moves = self.basis.reshape(*self.mean.shape, -1)[..., : len(coefficients)]
    return self.mean + moves @ coefficients.astype(np.float32)


def space_of(model: MorphableModel) -> Space:
  """The identity space of a model."""
  template = model.template
  return Space(
    template.vertices.astype(np.float64),
    template.faces[template.face_groups == 0],
    np.moveaxis(model.identity_basis, 0, -1).reshape(len(template.vertices), -1),
    template.faces[template.landmark_faces],
    template.landmark_weights.astype(np.float64),
  )


def truths(ict: MorphableModel, split: str, count: int, seed: int, points: str):
  """Random shapes that only the modes of the split move, as a list of truths."""
  rng = np.random.default_rng(seed)
  basis = ict.identity_basis[SPLITS[split]].astype(np.float64)
  seen = np.ones(len(ict.template.vertices), bool)
  if points == "seen":
    seen = _matching.seen(ict.template.vertices, ict.template.faces)
  result: list[Truth] = []
  for coefficients in rng.standard_normal((count, len(basis))):
    vertices = ict.template.vertices + np.tensordot(coefficients, basis, 1)
    points68 = np.asarray(ict.template.landmark_positions(vertices), np.float64)
    distance = np.linalg.norm(vertices - points68[30], axis=1)
    near = seen & (distance < _PULL_RADIUS)
    near[np.arange(len(near)) % _EVERY != 0] = False
    result.append(Truth(vertices[near], distance[near] < _RADIUS, points68))
  return result


def fitted(space: Space, truth: Truth, modes: int) -> np.ndarray:
  """Coefficients `[modes]` of the fit.

  The truth is brought to the model, so that the modes need no turning: every round
  solves for a small similarity of the truth and for the coefficients.
  """
  turn, shift = _similarity(
    truth.landmarks[_FIRST_INNER:],
    _landmarks(space, space.mean)[_FIRST_INNER:],
  )
  coefficients = np.zeros(modes)
  for across, along, landmark in _ROUNDS:
    points = truth.points @ turn.T + shift
    vertices = space.at(coefficients)
    triangle, weights = surface.nearest_points(points, vertices, space.faces)
    corners = space.faces[triangle]
    system, right = _normal_equations(
      (corners, weights, points, _normals(vertices, corners), across, along),
      space, vertices, coefficients,
    )  # fmt: skip
    inner = slice(_FIRST_INNER, None)
    goals = truth.landmarks[inner] @ turn.T + shift
    more = _normal_equations(
      (space.landmark_corners[inner], space.landmark_weights[inner], goals, None,
       landmark, landmark),
      space, vertices, coefficients,
    )  # fmt: skip
    system, right = system + more[0], right + more[1]
    system[np.arange(modes), np.arange(modes)] += 1
    solved = np.linalg.solve(system, right)
    coefficients = np.clip(solved[:modes], -_BOUND, _BOUND)
    step, slide = _small_similarity(solved[modes:])
    turn, shift = step @ turn, step @ shift + slide
  return coefficients


def _normal_equations(pull, space: Space, vertices, coefficients):
  """Matrix and right side for coefficients and a small similarity of the points."""
  corners, weights, points, normals, across, along = pull
  count = len(coefficients)
  places = np.einsum("pk,pkx->px", weights, vertices[corners])
  offset = points - places
  moves = (_reading(corners, weights, len(vertices)) @ space.basis).reshape(
    len(points), 3, -1
  )[..., :count]
  # points + t + s p + r × p - moves c = 0 to first order.
  jacobian = np.concatenate(
    [moves, -_similarity_jacobian(points).astype(np.float32)], -1
  )
  residual = offset + moves @ coefficients
  size = np.linalg.norm(offset, axis=1)
  trust = 1 / (1 + (size / (_ROBUST * across)) ** 2) ** 2
  metric = np.broadcast_to(np.eye(3) / along**2, (len(points), 3, 3))
  if normals is not None:
    outer = normals[:, :, None] * normals[:, None]
    # Points share what they say: together they count as a few hundred.
    metric = (metric + outer * (1 / across**2 - 1 / along**2)) * 400 / len(points)
  weighted = (metric * trust[:, None, None]).astype(np.float32) @ jacobian
  flat = jacobian.reshape(-1, jacobian.shape[-1])
  weighted = weighted.reshape(flat.shape)
  right = weighted.T @ residual.reshape(-1).astype(np.float32)
  return (flat.T @ weighted).astype(np.float64), right.astype(np.float64)


def _reading(corners: np.ndarray, weights: np.ndarray, count: int):
  """Sparse float32 matrix that reads places on triangles from vertices."""
  rows = np.repeat(np.arange(len(corners)), 3)
  return sparse.csr_matrix(
    (weights.astype(np.float32).ravel(), (rows, corners.ravel())),
    shape=(len(corners), count),
  )


def _similarity_jacobian(points: np.ndarray) -> np.ndarray:
  """Derivative `[P, 3, 7]` of shift, rotation and log scale."""
  x, y, z = points.T
  o = np.zeros_like(x)
  turn = np.stack(
    [np.stack(row, -1) for row in ((o, z, -y), (-z, o, x), (y, -x, o))], 1
  )
  eye = np.broadcast_to(np.eye(3), (len(points), 3, 3))
  return np.concatenate([eye, turn, points[..., None]], -1)


def _small_similarity(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Scaled rotation and shift of `[shift, rotation vector, log scale]`."""
  return np.exp(values[6]) * Rotation.from_rotvec(values[3:6]).as_matrix(), values[:3]


def _similarity(points, goals) -> tuple[np.ndarray, np.ndarray]:
  """Scaled rotation and shift from points to goals (Umeyama 1991)."""
  a, b = points - points.mean(0), goals - goals.mean(0)
  u, s, vt = np.linalg.svd(b.T @ a)
  sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
  turn = (u * sign) @ vt * (s * sign).sum() / (a**2).sum()
  return turn, goals.mean(0) - turn @ points.mean(0)


def _landmarks(space: Space, vertices: np.ndarray) -> np.ndarray:
  return np.einsum(
    "lk,lkx->lx", space.landmark_weights, vertices[space.landmark_corners]
  )


def _normals(vertices: np.ndarray, corners: np.ndarray) -> np.ndarray:
  a, b, c = (vertices[corners[:, k]] for k in range(3))
  normal = np.cross(b - a, c - a)
  return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-30)


def distance_mm(space: Space, vertices: np.ndarray, truth: Truth) -> float:
  """Mean distance from the truth's points to the surface after a similarity ICP.

  The head is brought to the truth, so that distances keep the truth's size.
  """
  inner = slice(_FIRST_INNER, None)
  turn, shift = _similarity(_landmarks(space, vertices)[inner], truth.landmarks[inner])
  points = truth.points[truth.counts]
  for _ in range(15):
    moved = vertices @ turn.T + shift
    triangle, weights = surface.nearest_points(points, moved, space.faces)
    corners = space.faces[triangle]
    offset = points - np.einsum("pk,pkx->px", weights, moved[corners])
    places, normals = points - offset, _normals(moved, corners)
    trust = 1 / (1 + (np.linalg.norm(offset, axis=1) / 0.1) ** 2)
    along = np.einsum("px,pxm->pm", normals, _similarity_jacobian(places))
    system = along.T @ (trust[:, None] * along) + 1e-9 * np.eye(7)
    solved = np.linalg.solve(system, along.T @ (trust * (normals * offset).sum(-1)))
    step, slide = _small_similarity(solved)
    turn, shift = step @ turn, step @ shift + slide
    if np.abs(solved).max() < 1e-4:
      break
  return float(100 * np.linalg.norm(offset, axis=1).mean())


def table(
  space: Space, points: str, split: str, count: int, seeds, steps
) -> list[dict]:
  """A row for each number of modes: errors over the shapes of all seeds."""
  ict = heads_at_hand.ict(100, inside=points == "inside")
  shapes = [truths(ict, split, count, seed, points) for seed in seeds]
  distances = lambda some: [distance_mm(space, space.mean, t) for t in some]
  mean = np.array([distances(some) for some in shapes])
  result = []
  for modes in steps:
    found = np.array([[fitted(space, t, modes) for t in some] for some in shapes])
    errors = np.array([
      [distance_mm(space, space.at(c), t) for c, t in zip(*pair, strict=True)]
      for pair in zip(found, shapes, strict=True)
    ])  # fmt: skip
    result.append({
      "points": points, "split": split, "modes": modes, "shapes": errors.size,
      "seeds": list(seeds), "error_mm": float(errors.mean()),
      "mean_head_mm": float(mean.mean()), "ratio": float(errors.mean() / mean.mean()),
      "ratio_by_seed": (errors.mean(1) / mean.mean(1)).tolist(),
      "ratio_worst": float((errors / mean).max()),
      "coefficient_rms": float(np.sqrt(np.mean(np.square(found)))),
      "coefficient_largest": float(np.abs(found).max()),
    })  # fmt: skip
  return result


def plausibility(model: MorphableModel, count: int, seed: int) -> dict:
  """How often random heads fold, stretch, or cross lips or lids.

  "folded" and "stretched" are shares of skin triangles; "lips_crossed" is the share of
  heads in which an inner landmark of the upper lip lies below its counterpart by more
  than 0.5 mm, "lids_crossed" the share of points of the lids inside the eyeball by
  more than 0.5 mm that lie outside of it on the mean head.
  """
  template = model.template
  mean = template.vertices.astype(np.float64)
  faces = template.faces[template.face_groups == 0]
  space, rng = space_of(model), np.random.default_rng(seed)
  folded, stretched, lips, lids, lid_points = 0, 0, 0, 0, 0
  for coefficients in sample_identity(rng, model, count):
    head = space.at(coefficients)
    folded += head_space_parts.folded(head, mean, faces).sum()
    stretched += head_space_parts.stretched(head, mean, faces).sum()
    points = _landmarks(space, head)
    lips += (points[[61, 62, 63], 1] < points[[67, 66, 65], 1] - 0.005).any()
    for depth, depth_mean in zip(
      *(_lid_depths(p, template, mean) for p in (head, mean)), strict=True
    ):
      lids += (depth[depth_mean < 0] > 0.005).sum()
      lid_points += (depth_mean < 0).sum()
  return {
    "heads": count, "seed": seed, "folded": folded / count / len(faces),
    "stretched": stretched / count / len(faces), "lips_crossed": lips / count,
    "lids_crossed": lids / lid_points,
  }  # fmt: skip


def _lid_depths(points: np.ndarray, template: Template, mean: np.ndarray):
  """How deep skin around the front of each eyeball lies inside of it, dm."""
  eyes = np.unique(template.faces[template.face_groups == 1])
  skin = np.unique(template.faces[template.face_groups == 0])
  for side in (1, -1):
    used = eyes[side * mean[eyes, 0] > 0]
    middle, radius = _sphere(points[used])
    start, size = _sphere(mean[used])
    out = mean[skin] - start
    near = (np.linalg.norm(out, axis=1) < 1.2 * size) & (out[:, 2] > 0)
    yield radius - np.linalg.norm(points[skin[near]] - middle, axis=1)


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
  """Center and radius of the sphere through points, by least squares."""
  system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
  solved = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
  return solved[:3], float(np.sqrt(solved[3] + (solved[:3] ** 2).sum()))


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--asset", type=pathlib.Path, help="another head.npz")
  parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
  parser.add_argument("--shapes", type=int, default=8, help="of each split and seed")
  parser.add_argument("--heads", type=int, default=1000, help="random ones")
  parser.add_argument("--modes", default="50,110,200", help="counts, e.g. 50,110")
  parser.add_argument("--splits", default="odd,even", help=", ".join(SPLITS))
  parser.add_argument("--points", default="seen", help="seen, inside")
  parser.add_argument("--seeds", default="0,1,2")
  options = parser.parse_args()
  model = open_head("embedded") if options.asset is None else _other(options.asset)
  space, most = space_of(model), len(model.identity_basis)
  steps = sorted({min(int(number), most) for number in options.modes.split(",")})
  seeds = [int(seed) for seed in options.seeds.split(",")]
  rows = []
  for points, split in itertools.product(
    options.points.split(","), options.splits.split(",")
  ):
    rows += table(space, points, split, options.shapes, seeds, steps)
  random_heads = plausibility(model, options.heads, seeds[0])
  measuring.write_json(options.output, {"oracle": rows, "random_heads": random_heads})
  keys = ("points", "split", "modes", "shapes", "error_mm", "mean_head_mm", "ratio")
  print(
    measuring.markdown(
      keys,
      [
        [
          f"{row[key]:.4}" if isinstance(row[key], float) else str(row[key])
          for key in keys
        ]
        for row in rows
      ],
    )
  )
  print({name: float(value) for name, value in random_heads.items()})


def _other(path: pathlib.Path) -> MorphableModel:
  """The embedded head with the identity modes of another asset over the same mesh."""
  data = store.read_npz(path.read_bytes(), path.name)
  basis = data["identity"].astype(np.float32) * data["identity_scale"][:, None, None]
  return dataclasses.replace(
    open_head("embedded"), identity_basis=basis, identity_std=data["identity_std"]
  )


if __name__ == "__main__":
  main()
