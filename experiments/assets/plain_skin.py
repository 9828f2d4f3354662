"""Builds `affjax/assets/plain_skin.png`: the embedded head's plain diffuse map.

  python -m experiments.assets.plain_skin

The synthetic faces' skin (`affjax.data`) is painted once at 512 x 512 without anything
personal: no freckles, moles, wrinkles, beard, makeup or hair. Takes half a minute on a
CPU. Prints the hash for `affjax/assets/store.py`.
"""

import io
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import affjax.assets
from affjax.assets import store
from affjax.data._synthetic import layout, sampling, skin
from affjax.files import write_file
from affjax.heads import open_head

_SIZE = 512
_TARGET = pathlib.Path(affjax.assets.__file__).with_name("plain_skin.png")
_PERSONAL = (
  "freckles", "moles", "blush", "nose_red", "bags", "age", "mottle", "lip_paint",
  "lid_paint", "scalp", "hairline",
)  # fmt: skip


def build() -> bytes:
  """Returns the map as a PNG file; its bytes depend on the installed Pillow."""
  model = open_head("embedded")
  drawn = sampling.scene(sampling.generator(0, "plain", 0), model).skin
  person = drawn._replace(
    **dict.fromkeys(_PERSONAL, jnp.float32(0)),
    melanin=jnp.float32(0.25),
    lip_blood=jnp.float32(0.5),
    beard=jnp.zeros(4),
  )
  places = layout.layout(model.template, _SIZE)
  colors = np.asarray(jax.jit(skin.diffuse_map)(person, places))
  out = io.BytesIO()
  Image.fromarray(np.rint(colors * 255).astype(np.uint8)).save(
    out, "PNG", optimize=True
  )
  return out.getvalue()


def main() -> None:
  """Writes the asset and prints its hash."""
  content = build()
  write_file(_TARGET, content)
  print(f"{_TARGET.name}: {len(content)} bytes, sha256 {store.sha256(_TARGET)}")


if __name__ == "__main__":
  main()
