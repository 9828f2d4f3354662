// The declarations that nvdiffrast's sources expect from a framework, for one that
// is neither of theirs: errors become exceptions, log lines go nowhere.
//
// Included before everything else in each source (`nvcc -include`).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

namespace affjax_nvdiffrast {

struct Silence {
  template <typename Value>
  const Silence& operator<<(const Value&) const {
    return *this;
  }
};

inline void require(bool condition, const std::string& complaint) {
  if (!condition) throw std::runtime_error(complaint);
}

inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // Or the next call would report it again.
  std::string complaint = std::string(cudaGetErrorString(status)) + " in " + call;
  if (status == cudaErrorMemoryAllocation)
    complaint +=
        " (CudaRaster allocates outside of XLA's pool: leave it room by a smaller "
        "XLA_PYTHON_CLIENT_MEM_FRACTION)";
  throw std::runtime_error(complaint);
}

}  // namespace affjax_nvdiffrast

#define NVDR_CTX_ARGS int
#define NVDR_CTX_PARAMS 0
#define NVDR_CHECK(condition, complaint) \
  affjax_nvdiffrast::require(static_cast<bool>(condition), complaint)
#define NVDR_CHECK_CUDA_ERROR(call) affjax_nvdiffrast::check(call, #call)
#define LOG(severity) affjax_nvdiffrast::Silence()
