"""Unsup3D (Wu, Rupprecht and Vedaldi 2020) and LAP's aggregation of photos, in JAX.

Unsup3D learns the shape of faces from photos alone. Five networks make a canonical
depth map, an albedo, a light, a view and two confidence maps of a photo; the renderer
makes the photo again of them, once as they are and once mirrored. Both must resemble
the photo, except where the confidence maps say that a face is not symmetric.

    model = Unsup3D()
    scene = model(model.init(0), photos)  # [n, 64, 64, 3] in [0, 1]

`Unsup3DConfig(affine=True)` makes two convolutions affine ones (AffUNet, figure 8), and
`Unsup3DConfig(photos=k)` has k photos of one person share depth and albedo, as LAP
(Zhang et al. 2021) aggregates them. The losses are in `affjax.losses`.
"""

from affjax.models.unsup3d._collection import aggregate
from affjax.models.unsup3d._model import NETWORKS, Unsup3D, Unsup3DConfig
from affjax.models.unsup3d._scene import Light, Scene, render_scene

__all__ = [
  "NETWORKS",
  "Light",
  "Scene",
  "Unsup3D",
  "Unsup3DConfig",
  "aggregate",
  "render_scene",
]
