"""ICT Face Model Light (Li et al. 2020), from the folder of OBJs of ICT-FaceKit."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from affjax.heads import _assembly
from affjax.heads._assembly import Parts, Source
from affjax.heads._morphable import MorphableModel

# The last vertex of each part, in the order of the files.
_LAST_VERTEX = {
  "face": 9408,
  "head_neck": 11247,
  "mouth_socket": 13293,
  "eye_socket_left": 13677,
  "eye_socket_right": 14061,
  "gums_tongue": 17038,
  "teeth": 21450,
  "eyeball_left": 23020,
  "eyeball_right": 24590,
  "lacrimal_left": 24794,
  "lacrimal_right": 24998,
  "eye_blend_left": 25022,
  "eye_blend_right": 25046,
  "eye_occlusion_left": 25198,
  "eye_occlusion_right": 25350,
  "eyelashes_left": 26034,
  "eyelashes_right": 26718,
}
PARTS = tuple(_LAST_VERTEX)
_VERTICES = 26719
_NEUTRAL = "generic_neutral_mesh"
# The 68 standard landmarks, as the authors' README lists them.
_LANDMARKS = np.array(
  [
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924,
    2608, 3272, 4088, 3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734,
    2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537,
    1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0,
    4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207,
    6470, 5517, 5966
  ]
)  # fmt: skip
_EYE_CORNERS = [36, 45]
_MAX_BYTES = 1 << 26


def load(
  folder: str | pathlib.Path,
  *,
  parts: Sequence[str] = ("face",),
  identities: int = 100,
) -> MorphableModel:
  """Reads `FaceXModel` of ICT-FaceKit: a neutral head and one head per mode.

  Centimeters become decimeters; the axes are those of head space. `identityNNN.obj`
  minus the neutral head is a mode at one standard deviation. Every other OBJ is an
  expression and gets its name in ARKit (`_L` becomes `Left`). The 68 landmarks are the
  authors'. Reading all 158 files takes about ten seconds.

  The authors' UV coordinates use one tile per material. The part "face", which includes
  the ears, keeps them; of several parts, each gets a cell of a square grid.

  Args:
    folder: `FaceXModel`, or the folder that contains it.
    parts: some of `PARTS`, among them "face", which has the landmarks.
    identities: number of identity modes to read.

  Raises:
    ModelFileError: a file is missing, damaged, or has another number of vertices.
    ValueError: a part is unknown, or "face" is absent.
  """
  unknown = [part for part in parts if part not in PARTS]
  if unknown or "face" not in parts:
    raise ValueError(f"parts must be 'face' and others of {PARTS}, got {tuple(parts)}")
  folder = pathlib.Path(folder)
  inner = folder / "FaceXModel"
  folder = inner if inner.is_dir() else folder
  source = Source(
    folder,
    "ICT-FaceKit",
    f"the folder FaceXModel with {_NEUTRAL}.obj, identity000.obj … and one OBJ an "
    f"expression, each of {_VERTICES} vertices",
    "https://github.com/ICT-VGL/ICT-FaceKit (MIT)",
  )
  with source.reading():
    return _load(source, parts, identities)


def _load(source: Source, parts: Sequence[str], identities: int) -> MorphableModel:
  neutral = source.path / f"{_NEUTRAL}.obj"
  source.check(neutral.is_file(), f"{neutral.name} is missing")
  others = sorted(path for path in source.path.glob("*.obj") if path != neutral)
  people = [path for path in others if path.stem.startswith("identity")]
  smiles = [path for path in others if path not in people]
  source.check(
    len(people) >= min(identities, 1), f"it has {len(people)} files identityNNN.obj"
  )
  mean = _positions(source, neutral)
  faces, faces_uv, uvs, last = _surface(source, neutral)
  # Parts share the vertices along their border, which belong to the earlier part.
  groups = np.searchsorted(list(_LAST_VERTEX.values()), last)
  chosen = [PARTS.index(part) for part in PARTS if part in parts]
  keep = np.isin(groups, chosen)
  faces, faces_uv, groups = faces[keep], faces_uv[keep], groups[keep]
  groups = np.searchsorted(chosen, groups).astype(np.int32)
  used, faces = _renumbered(faces)
  source.check(
    bool(np.isin(_LANDMARKS, used).all()), "its landmarks lie on no triangle"
  )
  old_uvs, faces_uv = _renumbered(faces_uv)
  moves = lambda paths: np.array(
    [(_positions(source, path) - mean)[used] for path in paths], np.float32
  ).reshape(-1, len(used), 3)
  return _assembly.assemble(
    source,
    Parts(
      name="ict",
      mean=mean[used],
      faces=faces,
      identity=moves(people[:identities]),
      expression=moves(smiles),
      expression_names=[_arkit_name(path.stem) for path in smiles],
      eyes=mean[_LANDMARKS[_EYE_CORNERS]],
      decimeters=0.1,
      landmarks=np.searchsorted(used, _LANDMARKS),
      uvs=_one_square(uvs[old_uvs], faces_uv, groups, len(chosen)),
      faces_uv=faces_uv,
      face_groups=groups,
      group_names=tuple(PARTS[index] for index in chosen),
    ),
  )


def _lines(source: Source, path: pathlib.Path, key: str) -> list[str]:
  """The lines of a file that begin with a key."""
  size = path.stat().st_size
  source.check(size <= _MAX_BYTES, f"{path.name} has {size} bytes")
  start = f"{key} "
  return [
    line for line in path.read_text("ascii").splitlines() if line.startswith(start)
  ]


def _positions(source: Source, path: pathlib.Path) -> np.ndarray:
  """Vertices `[V, 3]` of an OBJ, cm."""
  lines = _lines(source, path, "v")
  source.check(len(lines) == _VERTICES, f"{path.name} has {len(lines)} vertices")
  values = np.loadtxt(lines, usecols=(1, 2, 3))
  source.check(
    bool(np.isfinite(values).all()), f"{path.name} has NaN among its vertices"
  )
  return values


def _surface(
  source: Source, path: pathlib.Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Triangles, their UV indices, UV coordinates, the last vertex of each polygon."""
  uvs = np.loadtxt(_lines(source, path, "vt"), usecols=(1, 2), ndmin=2)
  triangles, last = [], []
  for line in _lines(source, path, "f"):
    corners = [tuple(map(int, word.split("/")[:2])) for word in line.split()[1:]]
    for i in range(1, len(corners) - 1):
      triangles.append((corners[0], corners[i], corners[i + 1]))
      last.append(max(corners)[0] - 1)
  indices = np.array(triangles, np.int64).reshape(-1, 3, 2) - 1
  faces, faces_uv = indices[..., 0], indices[..., 1]
  source.check(len(faces) > 0, f"{path.name} has no polygons with UV indices")
  for name, array, end in (("vertex", faces, _VERTICES), ("UV", faces_uv, len(uvs))):
    source.check(
      0 <= array.min() <= array.max() < end,
      f"{path.name} has {name} indices in [{array.min() + 1}, {array.max() + 1}]",
    )
  return faces, faces_uv, uvs, np.array(last)


def _renumbered(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The indices in use, ascending, and the faces as indices into them."""
  used, new = np.unique(faces, return_inverse=True)
  return used, new.reshape(faces.shape)


def _one_square(
  uvs: np.ndarray, faces_uv: np.ndarray, groups: np.ndarray, count: int
) -> np.ndarray:
  """UV coordinates with each part in its own cell of the unit square."""
  columns = math.ceil(math.sqrt(count))
  packed = uvs.copy()
  for group in range(count):
    index = np.unique(faces_uv[groups == group])
    low = np.floor(uvs[index].min(0))
    tiles = max(1.0, np.ceil((uvs[index] - low).max()))
    row, column = divmod(group, columns)
    packed[index] = ((uvs[index] - low) / tiles + (column, columns - 1 - row)) / columns
  return packed


def _arkit_name(stem: str) -> str:
  """ARKit's name of an expression: `browDownLeft` for `browDown_L`."""
  for short, long in (("_L", "Left"), ("_R", "Right")):
    if stem.endswith(short):
      return stem.removesuffix(short) + long
  return stem
