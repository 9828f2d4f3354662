"""The variants that `affine_conv.py` compares: one layer in XLA, PyTorch and kernels.

Every variant is made of the same arrays, placed on the device beforehand, and of one of
two directions: "forward", or "forward+backward" = the output and its pull-back to x,
theta and kernel (plain convolution: to x and kernel).
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from affjax.native import library
from affjax.ops import _affine_conv, affine_conv
from experiments.benchmarks.measuring import Variant

KERNEL, STRIDE = 3, 2
DIRECTIONS = ("forward", "forward+backward")
PLAIN = "plain convolution, XLA"
PLAIN_TORCH = "plain convolution, PyTorch"
DEFORMABLE = "PyTorch deform_conv2d"
# Work for one timed call on a GPU, where a single one is shorter than its dispatch.
GPU_REPEATS = 20


class Case(NamedTuple):
  """A layer: `batch` images `[size, size, channels]` to half the size, `features`."""

  batch: int
  size: int
  channels: int
  features: int
  dtype: str = "float32"

  def __str__(self) -> str:
    half = "" if self.dtype == "float32" else f" {self.dtype}"
    return f"{self.channels}→{self.features} {self.size}² ×{self.batch}{half}"

  def flops(self, direction: str) -> float:
    """Returns the operations of the matrix products; a multiply-add counts as two."""
    pixels = self.batch * (self.size // STRIDE) ** 2
    once = 2.0 * pixels * KERNEL**2 * self.channels * self.features
    return once * (1 if direction == "forward" else 3)

  def traffic(self, direction: str) -> float:
    """Bytes that have to be moved at least: arguments once, results once."""
    pixels = self.batch * (self.size // STRIDE) ** 2
    width = 4 if self.dtype == "float32" else 2
    inputs = width * (self.batch * self.size**2 * self.channels)
    inputs += width * KERNEL**2 * self.channels * self.features + 24 * pixels
    output = width * pixels * self.features
    # The way back reads the arguments again and a gradient as large as the output.
    return inputs + output if direction == "forward" else 3 * inputs + 2 * output


class Arrays(NamedTuple):
  """Returns the arrays of a case: NHWC, HWIO, NumPy float32."""

  x: np.ndarray
  theta: np.ndarray
  kernel: np.ndarray
  grad: np.ndarray


def arrays(case: Case, seed: int = 0) -> Arrays:
  """Features, and matrices of a smooth warp by up to 8 px with noise on top."""
  rng = np.random.default_rng(seed)
  half = case.size // STRIDE
  normal = lambda *shape: rng.standard_normal(shape, np.float32)
  theta = 0.15 * normal(case.batch, half, half, 2, 3) + np.eye(2, 3, dtype=np.float32)
  turn = np.linspace(0, 2 * np.pi, half, dtype=np.float32)
  theta[..., 0, 2] += 8 * np.sin(turn[:, None] + turn / 2)
  theta[..., 1, 2] += 8 * np.cos(turn)
  kernel = normal(KERNEL, KERNEL, case.channels, case.features)
  return Arrays(
    normal(case.batch, case.size, case.size, case.channels),
    theta,
    kernel / np.float32(KERNEL * case.channels**0.5),
    normal(case.batch, half, half, case.features),
  )


def kernel_backend(device: str) -> str | None:
  """The name of the native backend that works on a device."""
  name, platform = ("cpp", "cpu") if device == "cpu" else ("cuda", "cuda")
  ready = library.status("affine_conv", platform).ready
  return name if ready and name in _affine_conv._BACKENDS else None


def names(device: str) -> list[str]:
  """All variants that can run on a device."""
  with_kernel = [f"affjax {name}" for name in (kernel_backend(device),) if name]
  return [PLAIN, *_torch_names(device), "affjax literal", "affjax xla", *with_kernel]


def ours(device: str) -> str:
  """The variant that `backend="auto"` takes."""
  return f"affjax {kernel_backend(device) or 'xla'}"


def has_torch(device: str) -> bool:
  """Returns whether PyTorch is installed and can use the device."""
  try:
    torch = _torch()
  except ImportError:
    return False
  return device == "cpu" or torch.cuda.is_available()


def _torch_names(device: str) -> list[str]:
  if not has_torch(device):
    return []
  from experiments.pytorch_reference import affine_conv as torch_affine_conv

  found = [f"PyTorch {name}" for name in torch_affine_conv.forms()]
  # Which layout is the faster one depends on the shape; the slower forms need one only.
  found += [f"PyTorch {name}, NCHW" for name in ("one grid", "stacked")]
  return [f"{PLAIN_TORCH}, {layout}" for layout in ("NCHW", "channels-last")] + found


def _torch() -> Any:
  import torch

  return torch


def make(name: str, case: Case, direction: str, device: str) -> Variant:
  """A variant with its inputs in place; the first call of `run` may compile."""
  if "PyTorch" in name:
    return _torch_variant(name, case, direction, device)
  run, args, repeats = jax_function(name, case, direction, device)
  compiled = jax.jit(run).lower(*args).compile()
  return Variant(lambda: jax.block_until_ready(compiled(*args)), repeats)


# JAX.


def jax_function(name: str, case: Case, direction: str, device: str):
  """Function, arguments on the device, and how often it does the work."""
  x, theta, kernel, grad = (jnp.asarray(a) for a in arrays(case))
  x, kernel, grad = (a.astype(case.dtype) for a in (x, kernel, grad))
  if name == PLAIN:
    run, args = _plain, (x, kernel)
  else:
    backend = name.removeprefix("affjax ")
    run = lambda *a: affine_conv(*a, stride=STRIDE, backend=backend)
    args = (x, theta, kernel)
  if direction != "forward":
    run, args = _with_backward(run), (*args, grad)
  repeats = GPU_REPEATS if device == "gpu" else 1
  args = jax.block_until_ready(args)
  return (repeated(run, repeats) if repeats > 1 else run), args, repeats


def _plain(x, kernel):
  half = ((KERNEL - 1) // 2, KERNEL // 2)
  return lax.conv_general_dilated(
    x,
    kernel,
    (STRIDE, STRIDE),
    (half, half),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _with_backward(run: Callable) -> Callable:
  def both(*args):
    # The output is returned, or a plain convolution would not compute it.
    out, pull = jax.vjp(run, *args[:-1])
    return out, pull(args[-1])

  return both


def repeated(run: Callable, repeats: int) -> Callable:
  """Does the work several times, each time waiting for the last.

  A speck of every result is added to one number of x, too small to change it, so that
  the compiler cannot take the work out of the loop.
  """

  def loop(x, *rest):
    def body(_, carry):
      x, _ = carry
      out = run(x, *rest)
      firsts = [leaf.ravel()[0].astype(jnp.float32) for leaf in jax.tree.leaves(out)]
      speck = jnp.sum(jnp.stack(firsts))
      return x.at[0, 0, 0, 0].add((speck * 1e-30).astype(x.dtype)), out

    zeros = jax.tree.map(
      lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(run, x, *rest)
    )
    return lax.fori_loop(0, repeats, body, (x, zeros))[1]

  return loop


# PyTorch.


def _torch_variant(name: str, case: Case, direction: str, device: str) -> Variant:
  torch = _torch()
  where = torch.device("cuda" if device == "gpu" else "cpu")
  run, inputs, grad = _torch_function(name, case, where)

  def once():
    if direction == "forward":
      with torch.no_grad():
        return run(*inputs)
    out = run(*inputs)
    return out, torch.autograd.grad(out, inputs, grad)

  return Variant(once) if device == "cpu" else torch_gpu_variant(once)


def _torch_function(name: str, case: Case, where):
  """Function, inputs that take gradients, and the gradient of the output."""
  from experiments.pytorch_reference import affine_conv as forms

  torch = _torch()
  half = torch.float16 if name == DEFORMABLE else torch.bfloat16  # it knows no bfloat16
  dtype = torch.float32 if case.dtype == "float32" else half
  data = arrays(case)
  last = not name.endswith("NCHW")
  image = lambda a: forms.image(a, dtype=dtype, channels_last=last).to(where)
  weight = forms.weight(data.kernel, dtype=dtype).to(where)
  if name.startswith(PLAIN_TORCH):
    layout = torch.channels_last if last else torch.contiguous_format
    weight = weight.contiguous(memory_format=layout)
    pad = (KERNEL - 1) // 2
    run = lambda x, w: torch.nn.functional.conv2d(x, w, stride=STRIDE, padding=pad)
    inputs = (image(data.x), weight)
  else:
    form = forms.forms()[name.removeprefix("PyTorch ").removesuffix(", NCHW")]
    run = lambda x, t, w: form(x, t, w, STRIDE)
    inputs = (image(data.x), torch.tensor(data.theta).to(where), weight)
  for tensor in inputs:
    tensor.requires_grad_(True)
  return run, inputs, image(data.grad)


def torch_gpu_variant(once: Callable) -> Variant:
  """PyTorch's work on a GPU, repeated, and waited for."""
  torch = _torch()
  many = _captured(torch, once)

  def run_and_wait():
    many()
    torch.cuda.synchronize()

  return Variant(run_and_wait, GPU_REPEATS)


def _captured(torch, once: Callable) -> Callable[[], None]:
  """A CUDA graph of the repeated work, or a loop where it cannot be captured."""
  side = torch.cuda.Stream()
  side.wait_stream(torch.cuda.current_stream())
  with torch.cuda.stream(side):
    for _ in range(3):
      once()
  torch.cuda.current_stream().wait_stream(side)
  with contextlib.suppress(RuntimeError):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      for _ in range(GPU_REPEATS):
        once()
    return graph.replay

  def loop():
    for _ in range(GPU_REPEATS):
      once()

  return loop


# What the machine can do at best.


def roofline_probes(dtype: str, device: str, *, quick: bool) -> dict[str, Any]:
  """A large matrix product in XLA and one in PyTorch, and a copy, with their work.

  Returns:
    By name, a variant and the operations or bytes of one run.
  """
  side = 512 if quick else (8192 if device == "gpu" else 1536)
  count = 2**22 if quick else (2**28 if device == "gpu" else 2**25)
  a = jnp.ones((side, side), dtype)
  b = jnp.ones((count,), jnp.float32)
  product, copy = jax.jit(jnp.matmul), jax.jit(lambda v: v + 1)
  found = {
    "matmul, XLA": (Variant(lambda: product(a, a).block_until_ready()), 2.0 * side**3),
    "copy": (Variant(lambda: copy(b).block_until_ready()), 8.0 * count),
  }
  if device == "cpu" and has_torch(device):
    torch = _torch()
    c = torch.ones((side, side), dtype=getattr(torch, dtype))
    found["matmul, PyTorch"] = (Variant(lambda: torch.matmul(c, c)), 2.0 * side**3)
  return found


# Memory.


def peak_memory(name: str, case: Case, direction: str, device: str) -> dict[str, float]:
  """Peak memory of one call beyond its inputs, MiB; run in a process of its own.

  Returns:
    "resident": growth of the resident memory during the first call after compilation
    (CPU); "planned": XLA's own plan of temporaries and results, which does not know
    what a kernel allocates on the CPU; "allocated": PyTorch's peak on the GPU.
  """
  from experiments.benchmarks import measuring

  # Libraries start their threads and caches.
  make(name, Case(1, 8, 4, 8, case.dtype), direction, device).run()
  if device == "gpu" and "PyTorch" in name:
    return {"allocated": _torch_gpu_peak(name, case, direction)}
  if "PyTorch" in name:
    variant = make(name, case, direction, device)
    return {"resident": measuring.peak_rss_mib(variant.run)}
  run, args, _ = jax_function(name, case, direction, "cpu")  # once, also on a GPU
  compiled = jax.jit(run).lower(*args).compile()
  found = {}
  if plan := compiled.memory_analysis():
    found["planned"] = (plan.temp_size_in_bytes + plan.output_size_in_bytes) / 2**20
  if device == "cpu":
    call = lambda: jax.block_until_ready(compiled(*args))
    found["resident"] = measuring.peak_rss_mib(call)
  return found


def _torch_gpu_peak(name: str, case: Case, direction: str) -> float:
  torch = _torch()
  run, inputs, grad = _torch_function(name, case, torch.device("cuda"))
  torch.cuda.synchronize()
  torch.cuda.reset_peak_memory_stats()
  before = torch.cuda.memory_allocated()
  with torch.set_grad_enabled(direction != "forward"):
    out = run(*inputs)
  if direction != "forward":
    torch.autograd.grad(out, inputs, grad)
  torch.cuda.synchronize()
  return (torch.cuda.max_memory_allocated() - before) / 2**20
