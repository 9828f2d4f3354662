// AFFJAX_HD marks a function for the CPU and, under nvcc, also for the GPU.
#ifndef AFFJAX_CSRC_HOST_DEVICE_H_
#define AFFJAX_CSRC_HOST_DEVICE_H_

#ifdef __CUDACC__
#define AFFJAX_HD __host__ __device__ __forceinline__
#else
#define AFFJAX_HD inline
#endif

#endif  // AFFJAX_CSRC_HOST_DEVICE_H_
