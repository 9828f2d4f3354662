"""USDZ, the format of AR viewers: a text layer and the texture in an aligned zip."""

import io
import zipfile

import numpy as np

from affjax.export import _head_mesh
from affjax.export._head_mesh import HeadMesh

# Each file of the archive must begin at a multiple of this, as USDZ demands.
_ALIGNMENT = 64
_ROUGHNESS = {"eyes": 0.12, "teeth": 0.3}
_TEXTURE = "diffuse.png"


def usdz_bytes(mesh: HeadMesh, *, texture_png: bytes) -> bytes:
  """Returns the content of a `.usdz` file.

  The stage is in meters with +y up, and the face looks along +z.

  Args:
    mesh: Head to write.
    texture_png: Base color as a PNG file, sRGB, row 0 at v = 1.
  """
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
    # The first file is the one that viewers open.
    _add(archive, out, "head.usda", _layer(mesh).encode())
    _add(archive, out, _TEXTURE, texture_png)
  return out.getvalue()


def _add(archive: zipfile.ZipFile, out: io.BytesIO, name: str, content: bytes) -> None:
  """Adds a file without compression, after an extra field that aligns its content."""
  info = zipfile.ZipInfo(name)
  # A local header has 30 bytes, and an extra field begins with two 16-bit numbers.
  space = -(out.tell() + 30 + len(name) + 4) % _ALIGNMENT
  info.extra = (0x1986).to_bytes(2, "little") + space.to_bytes(2, "little")
  info.extra += b"\0" * space
  archive.writestr(info, content)


def _layer(mesh: HeadMesh) -> str:
  """Returns the stage as text."""
  corners = _head_mesh.split_at_seams(mesh.template)
  points, normals = mesh.meters[corners.vertex], mesh.normals[corners.vertex]
  numbers = np.arange(len(corners.faces))
  groups = _head_mesh.group_faces(numbers, mesh.template)
  uvs = mesh.template.uvs[corners.uv]
  return f"""#usda 1.0
(
  defaultPrim = "head"
  doc = "affjax: meters, +y up, the face looks along +z"
  metersPerUnit = 1
  upAxis = "Y"
)

def Xform "head" (kind = "component")
{{
  def Mesh "surface" (prepend apiSchemas = ["MaterialBindingAPI"])
  {{
    uniform token subdivisionScheme = "none"
    float3[] extent = {_tuples(np.stack([points.min(0), points.max(0)]))}
    int[] faceVertexCounts = {[3] * len(corners.faces)}
    int[] faceVertexIndices = {corners.faces.reshape(-1).tolist()}
    point3f[] points = {_tuples(points)}
    normal3f[] normals = {_tuples(normals)} (interpolation = "vertex")
    texCoord2f[] primvars:st = {_tuples(uvs)} (interpolation = "vertex")
    uniform token subsetFamily:materialBind:familyType = "partition"
{"".join(_subset(f"part{k}", part) for k, part in enumerate(groups.values()))}  }}

  def Scope "materials"
  {{
{"".join(_material(f"part{k}", name) for k, name in enumerate(groups))}  }}
}}
"""


def _subset(name: str, triangles: np.ndarray) -> str:
  """Returns the triangles of a group, bound to their material."""
  return f"""
    def GeomSubset "{name}" (prepend apiSchemas = ["MaterialBindingAPI"])
    {{
      uniform token elementType = "face"
      uniform token familyName = "materialBind"
      int[] indices = {triangles.tolist()}
      rel material:binding = </head/materials/{name}>
    }}
"""


def _material(name: str, group: str) -> str:
  """Returns a dielectric material whose base color is the diffuse map."""
  place = f"/head/materials/{name}"
  return f"""
    def Material "{name}"
    {{
      token outputs:surface.connect = <{place}/surface.outputs:surface>

      def Shader "surface"
      {{
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor.connect = <{place}/diffuse.outputs:rgb>
        float inputs:metallic = 0
        float inputs:roughness = {_ROUGHNESS.get(group, 0.55)}
        token outputs:surface
      }}

      def Shader "diffuse"
      {{
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @{_TEXTURE}@
        token inputs:sourceColorSpace = "sRGB"
        float2 inputs:st.connect = <{place}/st.outputs:result>
        token inputs:wrapS = "clamp"
        token inputs:wrapT = "clamp"
        float3 outputs:rgb
      }}

      def Shader "st"
      {{
        uniform token info:id = "UsdPrimvarReader_float2"
        string inputs:varname = "st"
        float2 outputs:result
      }}
    }}
"""


def _tuples(values: np.ndarray) -> str:
  """Returns vectors as USD writes them, with six decimals."""
  rows = np.round(values.astype(float), 6).tolist()
  return "[" + ", ".join("(" + ", ".join(map(repr, row)) + ")" for row in rows) + "]"
