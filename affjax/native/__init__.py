"""Kernels in C++ and CUDA: compiled on this machine, registered with XLA, called."""
