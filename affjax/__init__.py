"""Single-photo 3D face reconstruction with affine convolutional networks, in JAX.

Importing this package touches no device, file or flag; import the parts by name:
`from affjax import render`, `from affjax.ops import affine_conv`.
"""

__version__ = "0.1.0"
