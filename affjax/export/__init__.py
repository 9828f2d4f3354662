"""Files of a head: GLB, OBJ, images and the HTML page.

`head_files` returns every file of a `Reconstruction`; `WRITERS` is the table of them.
"""

from affjax.export._card import page_face
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
from affjax.export._page import PageFace, PagePhoto, is_page, page_html
from affjax.export._painting import paint_photo
from affjax.export._reconstruction import NO_FACE, SURE, Reconstruction
from affjax.export._writers import FILES, WRITERS, HeadInPhoto, Writer, head_files

__all__ = [
  "FILES",
  "NO_FACE",
  "SURE",
  "WRITERS",
  "HeadInPhoto",
  "OutputError",
  "PageFace",
  "PagePhoto",
  "Reconstruction",
  "Writer",
  "glb_bytes",
  "head_files",
  "head_mesh",
  "is_page",
  "jpeg_bytes",
  "light_picture",
  "mtl_text",
  "obj_text",
  "over_black",
  "page_face",
  "page_html",
  "paint_photo",
  "png_bytes",
  "position_picture",
  "prepared_folder",
  "sheet",
  "to_uint8",
]
