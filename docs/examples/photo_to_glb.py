"""Photo to GLB: fits the embedded head to the largest face of a photo.

    python docs/examples/photo_to_glb.py photo.jpg head.glb

Without arguments, the script reads the portrait that comes with affjax and writes
`head.glb`. It needs no training and takes about 20 s on two CPU cores, most of them for
compilation.
"""

# %% Settings
import importlib.resources
import pathlib
import sys

import numpy as np

from affjax.export import glb_bytes, head_mesh, png_bytes
from affjax.faces import (
  apply_crop,
  face_crops,
  find_faces,
  fit_faces,
  read_colors,
  read_photo,
  visible_skin,
)
from affjax.heads import open_head
from affjax.types import Camera

portrait = importlib.resources.files("affjax.assets") / "astronaut.jpg"
photo_path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else str(portrait))
glb_path = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "head.glb")
CROP_SIZE = 512  # px
MAP_SIZE = 512  # texels of the diffuse map, a multiple of 8

# %% Find the faces
# `photo` is uint8 [H, W, 3]. Faces come with a box and 68 landmarks in its pixels, the
# largest face first.
photo = read_photo(photo_path)
faces = find_faces(photo)
if not faces:
  sys.exit(f"{photo_path}: no face found")

# %% Fit the head
# The fit runs in the crop's camera: it gives vertices [V, 3] in head space (decimeters)
# and a pose, rotation vector and translation, that places them before the camera.
head = open_head("embedded")
camera = Camera()
crop = face_crops(faces[:1], head.template, camera, CROP_SIZE)[0]
fit = fit_faces(head, faces[:1], [crop], camera)[0]
print(f"landmarks: {fit.inner_error:.2f} % of the interocular distance")

# %% Read the colors
# The diffuse map is read from the photo where skin is visible and filled from `plain`
# elsewhere, as on the back of the head.
image = apply_crop(photo, crop)
skin = visible_skin(np.rint(image * 255).astype(np.uint8)[None])[0]
plain = np.full((MAP_SIZE, MAP_SIZE, 3), (0.78, 0.6, 0.52), np.float32)
maps = read_colors(image, skin, fit.vertices, fit.pose, head.template, camera, plain)

# %% Write the file
# The mesh is in meters, +y up, the face looks along +z: any viewer of glTF shows it.
mesh = head_mesh(fit.vertices, head.template)
glb = glb_bytes(
  mesh, texture_png=png_bytes(maps.diffuse), extras={"pose": fit.pose.tolist()}
)
glb_path.write_bytes(glb)
print(f"{glb_path}: {len(mesh.vertices)} vertices, {len(glb) / 1e6:.1f} MB")
