"""The heads that experiments compare: the embedded one, MeInGame's and ICT's.

MeInGame's and ICT's come from the folder $AFFJAX_SHARED (by default `../shared`).
"""

import os
import pathlib
import shutil
from typing import Any

import numpy as np

from affjax.files import write_json
from affjax.heads import (
  MorphableModel,
  ObjTemplate,
  _assembly,
  load_template,
  open_head,
)
from affjax.heads._assembly import Parts, Source
from affjax.types import Template

SHARED = pathlib.Path(
  os.environ.get("AFFJAX_SHARED", pathlib.Path(__file__).parents[3] / "shared")
)
ICT = SHARED / "data" / "ICT-FaceKit" / "ict_facekit_light_headface.npz"
MEINGAME = SHARED / "data" / "MeInGame"
# Vertices of MeInGame's head, counted from 0, under standard landmarks: chosen from the
# second column of its `lm_bfm_230.txt` by their positions.
MEINGAME_LANDMARKS = {
  8: 4742, 17: 5154, 21: 5102, 22: 7917, 26: 6925, 30: 2730, 33: 2819, 36: 5288,
  39: 3471, 42: 6344, 45: 6532, 48: 4502, 51: 2823, 54: 7909, 57: 5475, 62: 2841,
  66: 2936,
}  # fmt: skip
MEINGAME_GROUPS = {"face_face": "skin"}


def meingame_file(folder: pathlib.Path, **options: Any) -> pathlib.Path:
  """Copies MeInGame's head for `open_head`, with a sidecar, and returns its path.

  Args:
    folder: an existing folder.
    options: more keys of the sidecar; its landmarks are found by the shape if absent.
  """
  path = folder / "meingame.obj"
  shutil.copy(MEINGAME / "mesh_230" / "nsh_bfm.obj", path)
  shutil.copy(MEINGAME / "masks" / "skin_mask.png", folder)
  sidecar = {
    "groups": MEINGAME_GROUPS,
    "masks": {"skin": "skin_mask.png"},
    "mask_rows": "bottom",
  }
  write_json(path.with_suffix(".json"), sidecar | options)
  return path


def meingame() -> ObjTemplate:
  """Returns MeInGame's head, the face group with its seams welded."""
  return load_template(
    MEINGAME / "mesh_230" / "nsh_bfm.obj",
    name="meingame",
    groups=MEINGAME_GROUPS,
    landmarks={"some": MEINGAME_LANDMARKS},
    masks={"skin": MEINGAME / "masks" / "skin_mask.png"},
    mask_rows="bottom",
  )


def ict(identities: int = 20, *, inside: bool = False) -> MorphableModel:
  """Returns ICT's face from arrays, in place of the folder that `open_head` reads.

  Args:
    identities: number of identity modes, the first ones.
    inside: whether eyes, mouth, teeth and gums come along, as parts of the face.
  """
  with np.load(ICT) as file:
    data = dict(file)
  used_quads = data["face_part"] <= (data["face_part"].max() if inside else 0)
  quads, quads_uv = (data[key][used_quads] for key in ("faces", "faces_uv"))
  whole = quads_uv[:, 3] >= 0
  faces, faces_uv = (
    np.concatenate([q[:, [0, 1, 2]], q[whole][:, [0, 2, 3]]]) for q in (quads, quads_uv)
  )
  used, faces = np.unique(faces, return_inverse=True)
  used_uv, faces_uv = np.unique(faces_uv, return_inverse=True)
  points = data["landmarks68"]
  return _assembly.assemble(
    Source(ICT, "ICT-FaceKit", "the arrays of the shared folder", "its README"),
    Parts(
      name="ict",
      mean=data["neutral"][used].astype(np.float64),
      faces=faces.reshape(-1, 3),
      identity=data["identity_deltas"][:identities, used].astype(np.float64),
      expression=data["expression_deltas"][:, used].astype(np.float64),
      expression_names=[
        name.replace("_L", "Left").replace("_R", "Right")
        for name in data["expression_names"].tolist()
      ],
      eyes=data["neutral"][points[[36, 45]]].astype(np.float64),
      decimeters=0.1,
      landmarks=np.searchsorted(used, points),
      uvs=data["uv"][used_uv].astype(np.float64),
      faces_uv=faces_uv.reshape(-1, 3),
      group_names=("face",),
    ),
  )


def templates() -> dict[str, Template]:
  """Returns the templates whose files are present, by name."""
  found = {"embedded": open_head("embedded").template}
  if MEINGAME.is_dir():
    found["meingame"] = meingame().template
  if ICT.is_file():
    found["ict"] = ict(0).template
  return found
