// The CPU's version of locate.h, for the rows of an image and sixteen pixels at a time.
#ifndef AFFJAX_CSRC_RASTER_LOCATE_H_
#define AFFJAX_CSRC_RASTER_LOCATE_H_

#include <stdint.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "coverage.h"
#include "locate.h"
#include "raster_lanes.h"

namespace affjax::raster {

// The numbers of sixteen pixels.
struct Many {
  using Number = lanes::Floats;
  static Number fill(float v) { return lanes::fill(v); }
  static Number if_tiny(Number v, Number yes, Number no) {
    return lanes::select(lanes::magnitude(v) < fill(locate::kTinyArea), yes, no);
  }
  static Number least(Number a, Number b) { return lanes::select(b < a, b, a); }
  static Number most(Number a, Number b) { return lanes::select(b > a, b, a); }
};

using ManyCorners = locate::Corners<lanes::Floats>;
using ManyPlaces = locate::Place<lanes::Floats>;

// The meshes of a batch, and the triangles that its images show.
class Seen {
 public:
  Seen(const float* pos, const int32_t* tri, const int32_t* ids, int64_t vertices,
       int64_t triangles, int height, int width)
      : pos_(pos),
        tri_(tri),
        ids_(ids),
        vertices_(vertices),
        triangles_(triangles),
        height_(height),
        width_(width),
        x_(width + lanes::kLanes) {
    for (int i = 0; i < width; ++i) x_[i] = coverage::center(i, width);
  }

  // Writes a line of the raster [B, H, W, 4] and, unless null, of its derivatives.
  void locate_line(int64_t line, float* rast, float* slopes) const {
    for_blocks(line, [&](int64_t at, int count, Block& block) {
      float* const to = rast + 4 * at;
      float* const slopes_to = slopes ? slopes + 4 * at : nullptr;
      if (!block.any) {
        std::fill_n(to, 4 * count, 0.0f);
        if (slopes) std::fill_n(slopes_to, 4 * count, 0.0f);
        return;
      }
      const ManyPlaces place = locate::place<Many>(
          block.corners(), block.px, block.py, 2.0f / width_, 2.0f / height_, slopes);
      for (int k = 0; k < count; ++k) {
        const bool shown = block.triangle[k] >= 0;
        to[4 * k] = shown ? place.u[k] : 0.0f;
        to[4 * k + 1] = shown ? place.v[k] : 0.0f;
        to[4 * k + 2] = shown ? place.depth[k] : 0.0f;
        to[4 * k + 3] = float(shown ? block.triangle[k] + 1 : 0);
        if (!slopes) continue;
        slopes_to[4 * k] = shown ? place.u_x[k] : 0.0f;
        slopes_to[4 * k + 1] = shown ? place.u_y[k] : 0.0f;
        slopes_to[4 * k + 2] = shown ? place.v_x[k] : 0.0f;
        slopes_to[4 * k + 3] = shown ? place.v_y[k] : 0.0f;
      }
    });
  }

  // Adds a line's gradient in the vertices of its image to `sum` [V, 4], for cotangents
  // of the raster and, unless null, of its derivatives.
  void pull_line(int64_t line, const float* rast, const float* slopes,
                 float* sum) const {
    for_blocks(line, [&](int64_t at, int count, Block& block) {
      if (!block.any) return;
      ManyPlaces g{};
      for (int k = 0; k < count; ++k) {
        if (block.triangle[k] < 0) continue;
        g.u[k] = rast[4 * (at + k)];
        g.v[k] = rast[4 * (at + k) + 1];
        if (!slopes) continue;
        g.u_x[k] = slopes[4 * (at + k)];
        g.u_y[k] = slopes[4 * (at + k) + 1];
        g.v_x[k] = slopes[4 * (at + k) + 2];
        g.v_y[k] = slopes[4 * (at + k) + 3];
      }
      const ManyCorners d =
          locate::pull<Many>(block.corners(), block.px, block.py, 2.0f / width_,
                             2.0f / height_, slopes, g);
      for (int k = 0; k < count; ++k) {
        if (block.triangle[k] < 0) continue;
        const int32_t* index = tri_ + 3 * int64_t{block.triangle[k]};
        add(sum + 4 * int64_t{index[0]}, d.x0[k], d.y0[k], d.w0[k]);
        add(sum + 4 * int64_t{index[1]}, d.x1[k], d.y1[k], d.w1[k]);
        add(sum + 4 * int64_t{index[2]}, d.x2[k], d.y2[k], d.w2[k]);
      }
    });
  }

 private:
  static constexpr int kLanes = lanes::kLanes;

  // Up to sixteen pixels of a row and the corners of their triangles; -1 where empty.
  struct Block {
    int32_t triangle[kLanes];
    bool any = false;
    lanes::Floats px, py;
    alignas(64) float corner[12][kLanes];

    ManyCorners corners() const {
      const auto c = [&](int k) { return lanes::load(corner[k]); };
      return {c(0), c(1), c(2), c(3), c(4), c(5), c(6), c(7), c(8), c(9), c(10), c(11)};
    }
  };

  static void add(float* to, float x, float y, float w) {
    to[0] += x;
    to[1] += y;
    to[3] += w;
  }

  template <typename F>
  void for_blocks(int64_t line, const F& f) const {
    const float* const pos = pos_ + line / height_ * vertices_ * 4;
    Block block;
    block.py = lanes::fill(coverage::center(int(line % height_), height_));
    for (int x = 0; x < width_; x += kLanes) {
      const int64_t at = line * width_ + x;
      const int count = std::min(kLanes, width_ - x);
      block.px = lanes::load(x_.data() + x);
      block.any = false;
      for (int k = 0; k < kLanes; ++k) {
        const int32_t shown = k < count ? known(ids_[at + k]) : -1;
        block.triangle[k] = shown;
        block.any |= shown >= 0;
      }
      if (block.any) gather(pos, block);
      f(at, count, block);
    }
  }

  // Returns the index of an id + 1 whose vertices exist, otherwise -1.
  int32_t known(int32_t id) const {
    if (id <= 0 || id > triangles_) return -1;
    const int32_t* index = tri_ + 3 * (int64_t{id} - 1);
    const uint64_t most =
        std::max({uint32_t(index[0]), uint32_t(index[1]), uint32_t(index[2])});
    return most < uint64_t(vertices_) ? id - 1 : -1;
  }

  // Empty pixels compute with a triangle whose numbers are harmless.
  void gather(const float* pos, Block& block) const {
    static constexpr float kNowhere[12] = {1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1};
    for (int k = 0; k < kLanes; ++k) {
      if (block.triangle[k] < 0) {
        for (int c = 0; c < 12; ++c) block.corner[c][k] = kNowhere[c];
        continue;
      }
      const int32_t* index = tri_ + 3 * int64_t{block.triangle[k]};
      for (int v = 0; v < 3; ++v) {
        const float* from = pos + 4 * int64_t{index[v]};
        for (int c = 0; c < 4; ++c) block.corner[4 * v + c][k] = from[c];
      }
    }
  }

  const float* const pos_;
  const int32_t *const tri_, *const ids_;
  const int64_t vertices_, triangles_;
  const int height_, width_;
  std::vector<float> x_;
};

// Number of bands of rows in which an image's gradient is summed. It does not depend on
// the threads, so the order of sums never changes.
constexpr int64_t kBands = 4;
// Largest number of floats of scratch memory, unless one image needs more.
constexpr int64_t kSums = int64_t{1} << 24;

// Computes the gradient `out` [B, V, 4] in the vertices; see `Seen::pull_line`.
template <typename Parallel>
void pull_all(const Parallel& parallel, const Seen& seen, int64_t batch, int height,
              int64_t vertices, const float* rast, const float* slopes, float* out) {
  const int64_t size = 4 * vertices, more = kBands - 1;
  const int64_t together = std::clamp<int64_t>(
      kSums / std::max<int64_t>(more * size, 1), 1, std::max<int64_t>(batch, 1));
  std::unique_ptr<float[]> sums(new float[together * more * size]);
  constexpr int64_t kPart = 1 << 14;
  const int64_t parts = (size + kPart - 1) / kPart;
  for (int64_t first = 0; first < batch; first += together) {
    const int64_t images = std::min(together, batch - first);
    float* const results = out + first * size;
    parallel(images * kBands, [&](int64_t k) {
      const int64_t image = k / kBands, band = k % kBands;
      // The first band adds to the result itself.
      float* const sum = band == 0 ? results + image * size
                                   : sums.get() + (image * more + band - 1) * size;
      std::fill_n(sum, size, 0.0f);
      const int64_t begin = (first + image) * height + height * band / kBands;
      const int64_t end = (first + image) * height + height * (band + 1) / kBands;
      for (int64_t line = begin; line < end; ++line) {
        seen.pull_line(line, rast, slopes, sum);
      }
    });
    parallel(images * parts, [&](int64_t k) {
      const int64_t image = k / parts, from = k % parts * kPart;
      const int64_t to = std::min(size, from + kPart);
      for (int64_t band = 0; band < more; ++band) {
        const float* const other = sums.get() + (image * more + band) * size;
        for (int64_t i = from; i < to; ++i) results[image * size + i] += other[i];
      }
    });
  }
}

}  // namespace affjax::raster

#endif  // AFFJAX_CSRC_RASTER_LOCATE_H_
