"""Files of a head: GLB, OBJ, PLY, USDZ, images and the HTML page.

`head_files` returns every file of a `Reconstruction`; `WRITERS` is the table of them.
`animated_glb` adds a `Performance` to a GLB file.
"""

from affjax.export._animation import animated_glb, target_names
from affjax.export._card import CARD_FOLDER, Card, card_files, read_card
from affjax.export._expression import Expression
from affjax.export._folder import OutputError, prepared_folder
from affjax.export._glb import glb_bytes
from affjax.export._head_mesh import head_mesh
from affjax.export._images import (
  jpeg_bytes,
  light_picture,
  over_black,
  png_bytes,
  position_picture,
  sheet,
  to_uint8,
)
from affjax.export._obj import mtl_text, obj_text
from affjax.export._page import (
  Frame,
  PagePhoto,
  card_html,
  is_page,
  page_html,
  viewer_script,
  viewer_style,
)
from affjax.export._painting import paint_photo
from affjax.export._performance import Performance, RecordingWriter, read_performance
from affjax.export._ply import ply_bytes
from affjax.export._projection import head_to_photo
from affjax.export._reconstruction import SURE, Reconstruction
from affjax.export._usdz import usdz_bytes
from affjax.export._view import moves_script
from affjax.export._writers import (
  FILES,
  MESH_FORMATS,
  WRITERS,
  HeadInPhoto,
  Writer,
  check_formats,
  head_files,
)

__all__ = [
  "CARD_FOLDER",
  "FILES",
  "MESH_FORMATS",
  "SURE",
  "WRITERS",
  "Card",
  "Expression",
  "Frame",
  "HeadInPhoto",
  "OutputError",
  "PagePhoto",
  "Performance",
  "Reconstruction",
  "RecordingWriter",
  "Writer",
  "animated_glb",
  "card_files",
  "card_html",
  "check_formats",
  "glb_bytes",
  "head_files",
  "head_mesh",
  "head_to_photo",
  "is_page",
  "jpeg_bytes",
  "light_picture",
  "moves_script",
  "mtl_text",
  "obj_text",
  "over_black",
  "page_html",
  "paint_photo",
  "ply_bytes",
  "png_bytes",
  "position_picture",
  "prepared_folder",
  "read_card",
  "read_performance",
  "sheet",
  "target_names",
  "to_uint8",
  "usdz_bytes",
  "viewer_script",
  "viewer_style",
]
