// What the host has instead of a stream, of CudaRaster (whose kernels are PTX) and of
// dynamic shared memory.

#include <vector>

#include "cudaraster/CudaRaster.hpp"

float s_texelAccum[1 << 16];

namespace {
std::vector<int> ids, drawn;
int width, height, images;
}  // namespace

// The picture that the next draw shows: triangle index + 1.
extern "C" void affjax_host_set_ids(const int* values, int count) {
  ids.assign(values, values + count);
}

namespace CR {

CudaRaster::CudaRaster() : m_impl(nullptr) {}
CudaRaster::~CudaRaster() {}
void CudaRaster::setBufferSize(int w, int h, int count) {
  width = w, height = h, images = count;
}
void CudaRaster::setViewport(int, int, int, int) {}
void CudaRaster::setRenderModeFlags(unsigned) {}
void CudaRaster::deferredClear(unsigned) {}
void CudaRaster::setVertexBuffer(void*, int) {}
void CudaRaster::setIndexBuffer(void*, int) {}
bool CudaRaster::drawTriangles(const int*, bool, cudaStream_t) {
  if (ids.size() != static_cast<size_t>(width) * height * images) return false;
  int padded_width = (width + 7) / 8 * 8, padded_height = (height + 7) / 8 * 8;
  drawn.assign(static_cast<size_t>(padded_width) * padded_height * images, -7);
  for (int i = 0; i < images; ++i)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        drawn[(i * padded_height + y) * padded_width + x] =
            ids[(i * height + y) * width + x];
  return true;
}
void* CudaRaster::getColorBuffer() { return drawn.data(); }

}  // namespace CR
