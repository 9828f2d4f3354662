// Silhouette edges of all pairs of neighboring pixels on a GPU, with one thread per
// pixel.
#ifndef AFFJAX_CSRC_SILHOUETTES_DEVICE_CUH_
#define AFFJAX_CSRC_SILHOUETTES_DEVICE_CUH_

#include <algorithm>

#include "silhouettes.h"

namespace affjax::silhouettes {

// The vertices of the edges.
struct Found {
  int *start_x, *end_x;  // [batch, height, width - 1]
  int *start_y, *end_y;  // [batch, height - 1, width]
};

// Finds edges along x if blockIdx.y is 0, along y if it is 1.
__global__ void __launch_bounds__(256)
    find_edges(const Images images, int64_t batch, const Found found) {
  const bool along_y = blockIdx.y;
  const int height = images.height - along_y, width = images.width - !along_y;
  int* const starts = along_y ? found.start_y : found.start_x;
  int* const ends = along_y ? found.end_y : found.end_x;
  const int64_t pairs = int64_t{height} * width;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t item = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
       item < batch * pairs; item += step) {
    const int64_t image = item / pairs, place = item % pairs;
    const int y = int(place / width), x = int(place % width);
    edge_of(images, image, y, x, along_y, starts[item], ends[item]);
  }
}

inline dim3 grid_of(int64_t pixels) {
  return dim3(unsigned(std::min<int64_t>((pixels - 1) / 256 + 1, 1 << 20)), 2);
}

}  // namespace affjax::silhouettes

#endif  // AFFJAX_CSRC_SILHOUETTES_DEVICE_CUH_
