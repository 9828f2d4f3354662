"""Plain convolution in portable XLA."""

from jax import lax
from jaxtyping import Array, Float


def conv(
  x: Float[Array, "n h w c"], kernel: Float[Array, "k k c o"], stride: int
) -> Float[Array, "n i j o"]:
  """Convolves with zero padding of half the kernel, accumulating in float32."""
  size = kernel.shape[0]
  padding = ((size - 1) // 2, size // 2)
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    (padding, padding),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  ).astype(x.dtype)
