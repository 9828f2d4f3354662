"""Makes `pytorch3d_golden.npz`: what PyTorch3D's own CPU rasterizer says.

    python tests/reference/make_pytorch3d_golden.py

Needs PyTorch3D, which no part of the package does. Made with these, on a machine
without a GPU (the package below is a build of PyTorch3D 0.7.9 by others, BSD license):

    pip install torch==2.11.0 easypytorch3d==0.7.9.post1

A scene `name` has `name/vertices [B, V, 3]` (as the rasterizer takes them: NDC x, y and
view-space depth), `name/tri [T, 3]`, `name/size` (height, width), `name/perspective`,
and the four arrays of the fragments, at `faces_per_pixel=4`.
"""

import pathlib

import numpy as np
import torch
from pytorch3d.renderer import (
  FoVOrthographicCameras,
  FoVPerspectiveCameras,
  MeshRasterizer,
  RasterizationSettings,
  look_at_view_transform,
)
from pytorch3d.structures import Meshes

PATH = pathlib.Path(__file__).with_name("pytorch3d_golden.npz")
SIZES = {"square": (16, 16), "wide": (12, 20), "tall": (18, 10)}


def soup(rng, count: int):
  """Triangles of their own vertices, within the unit ball or so."""
  center = rng.normal(size=(count, 1, 3)) * 0.45
  vertices = center + rng.normal(size=(count, 3, 3)) * rng.uniform(
    0.1, 0.7, (count, 1, 1)
  )
  return vertices.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def cube():
  """A cube of 12 triangles."""
  corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
  quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4)]
  quads.append((1, 5, 7, 3))
  return 0.6 * corners, np.array(
    [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
  )


def main() -> None:
  """Writes the file."""
  rng, arrays = np.random.default_rng(0), {}
  for name, size in SIZES.items():
    for kind, (vertices, tri) in {"soup": soup(rng, 14), "cube": cube()}.items():
      for view in ("perspective", "orthographic"):
        arrays |= {
          f"{name}_{kind}_{view}/{key}": value
          for key, value in rasterized(vertices, tri, size, view, rng).items()
        }
  np.savez_compressed(PATH, **arrays)
  print(f"{PATH}: {PATH.stat().st_size / 1e3:.0f} kB")


def rasterized(vertices, tri, size, view: str, rng) -> dict[str, np.ndarray]:
  """Two images of a mesh, from two sides."""
  R, T = look_at_view_transform(
    torch.tensor([2.7, 3.5]),
    torch.as_tensor(rng.uniform(-40, 40, 2), dtype=torch.float32),
    torch.as_tensor(rng.uniform(0, 360, 2), dtype=torch.float32),
  )
  if view == "perspective":
    cameras = FoVPerspectiveCameras(znear=0.2, zfar=10, fov=50, R=R, T=T)
  else:
    cameras = FoVOrthographicCameras(
      znear=0.2, zfar=10, min_x=-1.2, max_x=1.2, min_y=-1.2, max_y=1.2, R=R, T=T
    )
  points = torch.as_tensor(vertices, dtype=torch.float32)
  meshes = Meshes([points] * 2, [torch.as_tensor(tri)] * 2)
  settings = RasterizationSettings(image_size=size, blur_radius=0.0, faces_per_pixel=4)
  rasterizer = MeshRasterizer(cameras, settings)
  fragments = rasterizer(meshes)
  return {
    "vertices": rasterizer.transform(meshes).verts_padded().numpy(),
    "tri": tri.astype(np.int32),
    "size": np.array(size),
    "perspective": np.array(view == "perspective"),
    "pix_to_face": fragments.pix_to_face.numpy().astype(np.int32),
    "zbuf": fragments.zbuf.numpy(),
    "bary_coords": fragments.bary_coords.numpy(),
    "dists": fragments.dists.numpy(),
  }


if __name__ == "__main__":
  main()
