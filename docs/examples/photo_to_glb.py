# %% [markdown]
# # Photo to GLB in Python
#
# This page turns the largest face of a photo into a textured head in a GLB file. It
# needs no training: the embedded morphable head is laid where a small network and the
# landmarks of the face say, and its colors are read from the photo. `affjax fit` does
# the same for many photos.
#
# Run it with `python docs/examples/photo_to_glb.py PHOTO HEAD.glb`. Without arguments,
# it takes the portrait that comes with affjax and writes `head.glb`. It takes less than
# half a minute on two CPU cores, mostly for compilation.

# %%
import importlib.resources
import pathlib
import sys

import numpy as np

from affjax.export import glb_bytes, head_mesh, png_bytes
from affjax.faces import (
  apply_crop,
  face_crops,
  find_faces,
  fit_surface,
  read_colors,
  read_photo,
  visible_skin,
)
from affjax.heads import open_head, plain_diffuse
from affjax.types import Camera

CROP_SIZE = 512  # px
MAP_SIZE = 512  # texels of the diffuse map, a multiple of 8

portrait = importlib.resources.files("affjax.assets") / "astronaut.jpg"
photo_path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else str(portrait))
glb_path = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "head.glb")

# %% [markdown]
# ## Find the faces
#
# `photo` is uint8 `[H, W, 3]`. Each face has a box and landmarks in pixels of the
# photo; the largest face comes first.

# %%
photo = read_photo(photo_path)
faces = find_faces(photo)
if not faces:
  sys.exit(f"{photo_path}: no face found")

# %% [markdown]
# ## Fit the head
#
# The face is cut out as a square that one fixed camera looks at. The fit gives vertices
# `[V, 3]` in head space (decimeters) and the pose, a rotation vector and a translation,
# that places them before that camera. To fit another head, pass a file to `open_head`.

# %%
head = open_head("embedded")
camera = Camera()
crop = face_crops(faces[:1], head.template, camera, CROP_SIZE)[0]
image = apply_crop(photo, crop)
pixels = np.rint(image * 255).astype(np.uint8)[None]
fit = fit_surface(head, faces[:1], [crop], pixels, camera)[0]
print(f"landmark error: {fit.inner_error:.2f} % of the interocular distance")

# %% [markdown]
# ## Read the colors
#
# The diffuse map is read from the photo where skin is visible. A plain map fills the
# rest, such as the back of the head.

# %%
skin = visible_skin(pixels)[0]
plain = plain_diffuse(head.template, MAP_SIZE)
maps = read_colors(image, skin, fit.vertices, fit.pose, head.template, camera, plain)

# %% [markdown]
# ## Write the file
#
# The mesh is in meters, with +y up and the face looking along +z, as glTF demands.

# %%
mesh = head_mesh(fit.vertices, head.template)
glb = glb_bytes(
  mesh, texture_png=png_bytes(maps.diffuse), extras={"pose": fit.pose.tolist()}
)
glb_path.write_bytes(glb)
print(f"{glb_path}: {len(mesh.vertices)} vertices, {len(glb) / 1e6:.1f} MB")
