"""Morphable head models: `open_head` is the one way to get one."""

from affjax.heads._assembly import ModelFileError
from affjax.heads._explaining import explain_vertices
from affjax.heads._landmark_sets import with_landmarks
from affjax.heads._morphable import MorphableModel, unit_index
from affjax.heads._obj_file import ObjError, ObjMesh, read_obj
from affjax.heads._opening import open_head
from affjax.heads._plain import plain_diffuse
from affjax.heads._ply_file import PlyError, read_ply
from affjax.heads._random import random_vertices, sample_expression, sample_identity
from affjax.heads._retargeting import Retargeter, retarget_model
from affjax.heads._template import ObjTemplate, load_template
from affjax.heads._unwrapping import with_uvs

__all__ = [
  "ModelFileError",
  "MorphableModel",
  "ObjError",
  "ObjMesh",
  "ObjTemplate",
  "PlyError",
  "Retargeter",
  "explain_vertices",
  "load_template",
  "open_head",
  "plain_diffuse",
  "random_vertices",
  "read_obj",
  "read_ply",
  "retarget_model",
  "sample_expression",
  "sample_identity",
  "unit_index",
  "with_landmarks",
  "with_uvs",
]
