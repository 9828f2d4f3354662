"""A page of the samples of lowest quality: each photo, and its head drawn over it."""

import base64
import dataclasses
import functools
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from PIL import Image, ImageDraw

from affjax.geometry.camera import head_to_world, world_to_px
from affjax.render import head_buffers
from affjax.types import Camera, Template

_SIDE = 224
# Direction of the light: from the upper left, in front of the head.
_LIGHT = np.array([-0.35, 0.45, 0.82], np.float32)
_COLOR = np.array([90, 170, 255], np.float32)
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;
color:#1a1d21;background:#fafafa}h1{font-size:1.35rem;margin:0}p{margin:.3rem 0 1rem}
.all{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:1rem}
figure{margin:0;background:#fff;border:1px solid #ddd;border-radius:8px;padding:.5rem}
figure div{display:flex;gap:.3rem}img{width:50%;border-radius:4px;display:block}
figcaption{margin-top:.4rem;overflow-wrap:anywhere}b{font-variant-numeric:tabular-nums}
table{border-collapse:collapse;margin:1rem 0}td{padding:.1rem 1rem .1rem 0}
@media(prefers-color-scheme:dark){body{background:#16181b;color:#e4e6e9}
figure{background:#202327;border-color:#33373d}}
"""


@dataclasses.dataclass(frozen=True, eq=False)
class ShownRecord:
  """A record on the page.

  Attributes:
    source: name of the photo and `#face k`.
    quality: quality in [0, 1].
    error: landmark error, % of the interocular distance; negative if unknown.
    fields: the record as `_record.decode` returns it.
  """

  source: str
  quality: float
  error: float
  fields: Mapping[str, Any]


def page(
  samples: Sequence[ShownRecord],
  template: Template,
  camera: Camera,
  *,
  counts: Mapping[str, Any],
) -> str:
  """Returns the page as self-contained HTML.

  Args:
    samples: Records in the order in which they are shown.
    template: Template of their vertices.
    camera: Camera of their photos.
    counts: Summary of the preparation; its counts head the page.
  """
  rows = [("photos", counts["photos"]), ("samples kept", counts["kept"])]
  rows += [(f"skipped: {kind}", count) for kind, count in counts["skipped"].items()]
  rows += [
    ("median quality", _number(counts["median_quality"])),
    (
      "median landmark error, % of the interocular distance",
      _number(counts["median_error"]),
    ),
  ]
  table = "".join(
    f"<tr><td>{html.escape(name)}</td><td><b>{html.escape(str(value))}</b></td></tr>"
    for name, value in rows
  )
  figures = "\n".join(_figure(sample, template, camera) for sample in samples)
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="generator" content="affjax">'
    '<meta name="viewport" content="width=device-width">'
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "img-src data:; style-src 'unsafe-inline'\">"
    f"<title>Worst samples</title><style>{_STYLE}</style>"
    f"<h1>The {len(samples)} samples of lowest quality</h1>"
    "<p>Left: the aligned photo with the detected landmarks. Right: the head that "
    f"belongs to it, with its landmarks.</p><table>{table}</table>"
    f'<div class="all">{figures}</div></html>'
  )


def _figure(sample: ShownRecord, template: Template, camera: Camera) -> str:
  error = "" if sample.error < 0 else f" · landmark error <b>{sample.error:.2f} %</b>"
  before, after = overlay(sample.fields, template, camera)
  return (
    f'<figure><div><img alt="photo" src="{_url(before)}">'
    f'<img alt="photo with the head" src="{_url(after)}"></div><figcaption>'
    f"{html.escape(sample.source)}<br>quality <b>{sample.quality:.2f}</b>{error}"
    "</figcaption></figure>"
  )


def overlay(
  fields: Mapping[str, Any], template: Template, camera: Camera
) -> tuple[Image.Image, Image.Image]:
  """Returns a record's photo with its landmarks, and with its head drawn over it.

  Args:
    fields: The record as `_record.decode` returns it.
    template: Template of the vertices.
    camera: Camera of the photo.
  """
  photo = Image.fromarray(fields["image"])
  factor = _SIDE / photo.width
  small = photo.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
  before, after = small.copy(), small.copy()
  _dots(before, (fields["landmarks"] + 0.5) * factor - 0.5, "#3ddc4a")
  if not fields["has_pose"]:
    return before, after
  shade, mask, points = _rendered(
    jnp.asarray(fields["vertices"])[None],
    jnp.asarray(fields["pose"])[None],
    template=template,
    camera=camera,
  )
  alpha = 0.65 * np.asarray(mask[0], np.float32)
  painted = np.asarray(shade[0]) * _COLOR.reshape(1, 1, 3)
  mixed = np.asarray(small, np.float32) * (1 - alpha) + painted * alpha
  after = Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
  _dots(after, np.asarray(points[0]), "#ff5050")
  return before, after


@functools.partial(jax.jit, static_argnames=("template", "camera"))
def _rendered(
  vertices: Float[Array, "n v 3"],
  pose: Float[Array, "n 6"],
  *,
  template: Template,
  camera: Camera,
) -> tuple[Float[Array, "n h w 1"], Bool[Array, "n h w 1"], Float[Array, "n 68 2"]]:
  """Returns shading, mask and landmarks (px) of posed heads."""
  world = head_to_world(vertices, pose)
  buffers = head_buffers(world, template, camera, (_SIDE, _SIDE))
  light = jnp.sum(buffers.normal * _LIGHT.reshape(1, 1, 1, 3), -1, keepdims=True)
  points = jax.vmap(lambda one: template.landmark_positions(one))(world)
  px = world_to_px(jnp.asarray(points), camera, _SIDE, _SIDE)
  return 0.25 + 0.85 * jnp.maximum(light, 0), buffers.mask, px


def _dots(picture: Image.Image, points: np.ndarray, color: str) -> None:
  draw = ImageDraw.Draw(picture)
  for x, y in points:
    draw.ellipse((x - 1.2, y - 1.2, x + 1.2, y + 1.2), fill=color)


def _url(picture: Image.Image) -> str:
  stream = io.BytesIO()
  picture.save(stream, "JPEG", quality=85)
  return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _number(value: float | None) -> str:
  return "unknown" if value is None else f"{value:.2f}"
