"""A folder of photos, for the measures that need no known geometry."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from affjax.eval import Photos
from affjax.faces import (
  Crop,
  Face,
  apply_crop,
  face_crop,
  find_faces,
  read_photo,
  visible_skin,
  warp,
)
from affjax.heads import open_head
from affjax.photos import gather
from affjax.types import Camera

# Side of the crops, px.
_SIZE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoFolder:
  """The largest face of each photo of a folder, cropped as networks see it.

  Attributes:
    folder: The folder.
    faces: The faces by photo.
    problems: Photos that cannot be judged by name, and the reason for each.
  """

  folder: pathlib.Path
  faces: Sequence[tuple[pathlib.Path, Face, Crop]]
  problems: Mapping[str, str]

  def __len__(self) -> int:
    return len(self.faces)

  @property
  def name(self) -> str:
    """Name of the folder."""
    return self.folder.resolve().name

  @property
  def names(self) -> Sequence[str]:
    """Name of each photo that shows a face, without suffix."""
    return [path.stem for path, _, _ in self.faces]

  @property
  def sha256(self) -> str:
    """Hash of the photos that are judged."""
    found = hashlib.sha256()
    for path, _, _ in self.faces:
      found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()

  def load(self, indices: Sequence[int]) -> Photos:
    """Returns some of the photos."""
    chosen = [self.faces[k] for k in indices]
    images = np.stack(
      [
        np.rint(255 * apply_crop(read_photo(path), crop)).astype(np.uint8)
        for path, _, crop in chosen
      ]
    )
    return Photos(
      names=tuple(path.name for path, _, _ in chosen),
      template=open_head("embedded").template,
      camera=Camera(),
      photos=images,
      visible=visible_skin(images)[..., 0] > 0.5,
      landmarks=np.stack(
        [warp.transform(crop.matrix, face.landmarks68) for _, face, crop in chosen]
      ),
    )


def photo_folder(folder: pathlib.Path, *, limit: int = 0) -> PhotoFolder:
  """Returns the photos of a folder, in which the faces are found.

  Args:
    folder: The folder.
    limit: Number of photos, the first ones by name; 0 = all.

  Raises:
    ValueError: No photo of the folder shows a face.
  """
  inputs = gather([folder])
  template, camera = open_head("embedded").template, Camera()
  found: list[tuple[pathlib.Path, Face, Crop]] = []
  problems: dict[str, str] = {}
  for path in inputs.photos[: limit or None]:
    try:
      faces = find_faces(read_photo(path))
    except (ValueError, OSError) as error:
      problems[path.name] = str(error).removeprefix(f"photo {str(path)!r}: ")
      continue
    if faces:
      found.append((path, faces[0], face_crop(faces[0], template, camera, _SIZE)))
    else:
      problems[path.name] = "no face found"
  if not found:
    raise ValueError(
      f"{str(folder)!r} holds neither a benchmark set nor a photo with a face"
    )
  return PhotoFolder(folder, found, problems)
