"""The numbers of a head: pose.json, and the line of facts on the page."""

import dataclasses
from typing import Any

import numpy as np

from affjax.export import _images, _projection
from affjax.export._reconstruction import Reconstruction


def head_facts(head: Reconstruction, *, photo_size: tuple[int, int]) -> dict[str, Any]:
  """Returns what is needed to lay the mesh on the photo, and how the head was made.

  Args:
    head: The head.
    photo_size: Height and width of the photo, px.
  """
  _, light_white = _images.light_picture(head.light)
  angles = _projection.yaw_pitch_roll_deg(head.rotation)
  from_meters = head.projection @ np.diag([1 / head.mesh.meters_per_unit] * 3 + [1])
  return {
    "about": "pixel = (a / w, b / w) with (a, b, w) = projection (x, y, z, 1); the "
    "center of the photo's first pixel is (0, 0); x right, y up, z towards the camera",
    "photo": {"height": photo_size[0], "width": photo_size[1]},
    "face": dict(head.found),
    "confidence": None if head.confidence is None else round(head.confidence, 3),
    "unsure": head.unsure,
    "crop": {"size": len(head.crop_image), "photo_px_to_crop_px": head.crop.tolist()},
    "camera": dataclasses.asdict(head.camera),
    "pose": {
      "axis_angle": np.asarray(head.pose[:3], float).tolist(),
      "translation_dm": np.asarray(head.pose[3:], float).tolist(),
      "matrix_head_to_world_dm": _projection.rigid(head.pose).tolist(),
      "in_photo_deg": dict(zip(("yaw", "pitch", "roll"), angles, strict=True)),
    },
    "projection_from_decimetres": head.projection.tolist(),
    "projection_from_metres": from_meters.tolist(),
    "light": {
      "color": np.asarray(head.light_color, float).tolist(),
      "light_png_white": light_white,
    },
    "units": {"position.npy": "decimetre", "meshes": "metre"},
    "scale": head.scale,
    "made": dict(head.notes),
  }


def page_facts(head: Reconstruction) -> dict[str, str]:
  """Returns the names and values that the page shows under a head."""
  yaw, pitch, roll = _projection.yaw_pitch_roll_deg(head.rotation)
  maps = f"{len(head.position)}² position, {len(head.diffuse)}² diffuse"
  facts = {"Yaw": f"{yaw:+.1f}°", "Pitch": f"{pitch:+.1f}°", "Roll": f"{roll:+.1f}°"}
  notes = {"Pose from": "pose_from", "Landmark error, %": "inner_error_percent"}
  facts |= {n: str(head.notes[k]) for n, k in notes.items() if k in head.notes}
  if "iris_mm" in head.notes:
    facts["Size"] = f"{head.scale:.2f} × the mean head, by its irises"
  if head.confidence is not None:
    facts["Confidence"] = f"{100 * head.confidence:.0f} %"
  if head.notes.get("doubts"):
    facts["Doubts"] = "; ".join(head.notes["doubts"])
  return {**facts, "Maps": maps, "Mesh": f"{len(head.mesh.vertices)} vertices"}
