"""Kernels in C++ and CUDA: compilation, registration with XLA, and calls.

`library.status(name, platform)` compiles a library at first use and reports its state;
`dispatch` calls a kernel, or portable code on platforms without one.
"""
