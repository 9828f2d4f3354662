// All of CudaRaster's kernels take one struct.
#include <cuda_runtime.h>

#include "cudaraster/impl/PrivateDefs.hpp"

cudaError_t in_fibers::launch(void* kernel, dim3 grid, dim3 block, void** arguments,
                              size_t shared, cudaStream_t stream) {
  return launch(reinterpret_cast<void (*)(CR::CRParams)>(kernel), grid, block,
                arguments, shared, stream);
}
