// One tile of the image, into which triangles are drawn. Coverage has the same bits as
// coverage.h, for many pixels at once.
#ifndef AFFJAX_CSRC_RASTER_TILE_H_
#define AFFJAX_CSRC_RASTER_TILE_H_

#include <math.h>
#include <stdint.h>

#include <algorithm>

#include "coverage.h"
#include "raster_lanes.h"

namespace affjax::raster {

using coverage::Corner;
using coverage::Triangle;
using lanes::Floats;
using lanes::Ints;

constexpr int kTile = 64;
// Side of the squares against which large triangles are tested.
constexpr int kBlock = lanes::kLanes;
constexpr int kBlocks = kTile / kBlock;

// Pixels x0..x1, y0..y1, both included.
struct Box {
  int x0, y0, x1, y1;
};

// The three edge functions of a triangle as linear functions of the pixel, with a bound
// on the effect of rounding here and in coverage.h. They decide for many pixels at once
// that none is inside.
struct Edges {
  float constant[3], by_x[3], by_y[3], margin[3];

  Edges(const Corner& a, const Corner& b, const Corner& c) {
    set(0, a, b);
    set(1, b, c);
    set(2, c, a);
  }

  // Returns whether the triangle certainly covers no pixel with its center in a
  // rectangle.
  bool miss(float left, float right, float top, float bottom) const {
    const float x = 0.5f * (left + right), dx = 0.5f * (right - left);
    const float y = 0.5f * (top + bottom), dy = 0.5f * (bottom - top);
    bool negative = false, positive = false;
    for (int k = 0; k < 3; ++k) {
      const float middle = constant[k] + by_x[k] * x + by_y[k] * y;
      const float reach = fabsf(by_x[k]) * dx + fabsf(by_y[k]) * dy + margin[k];
      negative |= middle < -reach;
      positive |= middle > reach;
    }
    return negative && positive;
  }

 private:
  void set(int k, const Corner& a, const Corner& b) {
    constant[k] = a.x * b.y - b.x * a.y;
    by_x[k] = b.w * a.y - a.w * b.y;
    by_y[k] = a.w * b.x - b.w * a.x;
    const float w = fabsf(a.w), v = fabsf(b.w);
    const float size =
        (fabsf(a.x) + w) * (fabsf(b.y) + v) + (fabsf(b.x) + v) * (fabsf(a.y) + w);
    // About ten roundings by 2^-24 of terms up to `size`, and coordinates that are off
    // by 2^-40.
    margin[k] = 0x1p-19f * size + 0x1p-34f;
  }
};

// A triangle's corners, with each coordinate in all lanes.
struct Spread {
  Floats x, y, z, w;
  explicit Spread(const Corner& c)
      : x(lanes::fill(c.x)),
        y(lanes::fill(c.y)),
        z(lanes::fill(c.z)),
        w(lanes::fill(c.w)) {}
};

inline Floats without_tiny(Floats v, float least) {
  return lanes::select(lanes::magnitude(v) < lanes::fill(least), Floats{}, v);
}

inline Floats moved(Floats x, Floats center, Floats w) {
  return without_tiny(x - center * w, coverage::kTinyCoordinate);
}

inline Floats weighted(Floats wa, Floats a, Floats wb, Floats b, Floats wc, Floats c) {
  return (without_tiny(wa * a, coverage::kTinyTerm) +
          without_tiny(wb * b, coverage::kTinyTerm)) +
         without_tiny(wc * c, coverage::kTinyTerm);
}

// Computes which of sixteen pixels a triangle covers (bits), and z/w at these.
//
// The corners are already moved, because pixels share that work. Only pixels of
// `allowed` count; px and py hold the centers.
struct Sixteen {
  Floats near;
  uint32_t hits;

  Sixteen(const Triangle& t, Floats ax, Floats ay, Floats bx, Floats by, Floats cx,
          Floats cy, Floats px, Floats py, uint32_t allowed)
      : near{}, hits(0) {
    const Floats a = bx * cy - cx * by;
    const Floats b = ax * cy - cx * ay;
    const Floats c = ax * by - bx * ay;
    const Floats zero{};
    const Ints left_a = a > zero, left_b = b > zero, left_c = c > zero;
    // Pixels where a sign needs more than the rounded value.
    const Ints unsure = (a == zero) | (b == zero) | (c == zero);
    const Ints inside = ~(left_a ^ left_c) & (left_a ^ left_b) & ~unsure;
    uint32_t rest = lanes::bits(unsure) & allowed;
    hits = lanes::bits(inside) & allowed;
    if (hits) {
      const Floats w = weighted(a, lanes::fill(t.a.w), -b, lanes::fill(t.b.w), c,
                                lanes::fill(t.c.w));
      const Floats z = weighted(a, lanes::fill(t.a.z), -b, lanes::fill(t.b.z), c,
                                lanes::fill(t.c.z));
      near = z / w;
      const Ints front = lanes::select(left_a, w > zero, w < zero);
      hits &= lanes::bits(front & (lanes::magnitude(near) <= lanes::fill(1.0f)));
    }
    for (; rest; rest &= rest - 1) {
      const int k = __builtin_ctz(rest);
      float depth;
      if (coverage::covers(t, px[k], py[k], depth)) {
        near[k] = depth;
        hits |= 1u << k;
      }
    }
  }
};

// Depths and ids of an image; only fragments behind them count, where at equal depths a
// greater id lies behind a smaller one. If null, all fragments count.
struct Behind {
  const float* depth;
  const int32_t* ids;

  bool admits(int64_t pixel, float near, int32_t id) const {
    return near > depth[pixel] || (near == depth[pixel] && id > ids[pixel]);
  }
};

// The visible triangles of a tile so far. Triangles must be drawn in ascending order.
class Tile {
 public:
  // Creates the tile with its first pixel at (left, top) of an image; `x` and `y` hold
  // the centers of pixels, sixteen more than the image has.
  Tile(int left, int top, int width, int height, const float* x, const float* y,
       Behind behind)
      : left_(left),
        top_(top),
        width_(width),
        columns_(std::min(kTile, width - left)),
        rows_(std::min(kTile, height - top)),
        x_(x),
        y_(y),
        behind_(behind) {
    for (int j = 0; j < kTile; ++j) {
      for (int i = 0; i < kTile; ++i) {
        // Pixels outside the image hide everything.
        const bool real = i < columns_ && j < rows_;
        depth_[j * kTile + i] = real ? INFINITY : -INFINITY;
        ids_[j * kTile + i] = 0;
      }
    }
    for (int k = 0; k < kBlocks * kBlocks; ++k) farthest_[k] = INFINITY;
  }

  // Continues with what another tile stored.
  void load(const int32_t* ids, const float* depth, int width) {
    for (int j = 0; j < rows_; ++j) {
      const int64_t row = int64_t{top_ + j} * width + left_;
      std::copy_n(ids + row, columns_, ids_ + j * kTile);
      std::copy_n(depth + row, columns_, depth_ + j * kTile);
    }
  }

  // Writes ids, and depths unless null, into the image.
  void store(int32_t* ids, float* depth, int width) const {
    for (int j = 0; j < rows_; ++j) {
      const int64_t row = int64_t{top_ + j} * width + left_;
      std::copy_n(ids_ + j * kTile, columns_, ids + row);
      if (depth) std::copy_n(depth_ + j * kTile, columns_, depth + row);
    }
  }

  // Draws a triangle, given its corners in any order, its bounding box in the image,
  // and a lower bound of its depth.
  void draw(Corner a, Corner b, Corner c, Box box, float nearest, int32_t id) {
    box.x0 = std::max(box.x0, left_);
    box.y0 = std::max(box.y0, top_);
    box.x1 = std::min(box.x1, left_ + columns_ - 1);
    box.y1 = std::min(box.y1, top_ + rows_ - 1);
    const bool large = box.x1 - box.x0 >= 8 || box.y1 - box.y0 >= 8;
    if (large && nearest >= farthest()) return;
    coverage::sort(a, b);
    coverage::sort(b, c);
    coverage::sort(a, b);
    if (coverage::same_place(a, b) || coverage::same_place(b, c)) return;
    const Triangle t{a, b, c};
    if (large) {
      draw_large(t, box, nearest, id);
    } else {
      draw_small(t, box, id);
    }
  }

 private:
  // Squares of 4 x 4 pixels.
  void draw_small(const Triangle& t, const Box& box, int32_t id) {
    const Spread a(t.a), b(t.b), c(t.c);
    for (int y = box.y0; y <= box.y1; y += 4) {
      const Floats py = by_row(y_ + y);
      const Floats ay = moved(a.y, py, a.w), by = moved(b.y, py, b.w);
      const Floats cy = moved(c.y, py, c.w);
      const uint32_t rows = 0xffffu >> (4 * std::max(0, y + 3 - box.y1));
      for (int x = box.x0; x <= box.x1; x += 4) {
        const Floats px = by_column(x_ + x);
        const Floats ax = moved(a.x, px, a.w), bx = moved(b.x, px, b.w);
        const Floats cx = moved(c.x, px, c.w);
        const uint32_t columns = 0x1111u * (0xfu >> std::max(0, x + 3 - box.x1));
        const Sixteen seen(t, ax, ay, bx, by, cx, cy, px, py, rows & columns);
        for (uint32_t hits = seen.hits; hits; hits &= hits - 1) {
          const int k = __builtin_ctz(hits);
          const int at = (y - top_ + k / 4) * kTile + x - left_ + k % 4;
          if (seen.near[k] < depth_[at] && admitted(at, seen.near[k], id)) {
            depth_[at] = seen.near[k];
            ids_[at] = id;
            changed(at);
          }
        }
      }
    }
  }

  // Visits the blocks that the triangle may touch, row by row.
  void draw_large(const Triangle& t, const Box& box, float nearest, int32_t id) {
    const Edges edges(t.a, t.b, t.c);
    for (int top = (box.y0 - top_) / kBlock; top <= (box.y1 - top_) / kBlock; ++top) {
      for (int left = (box.x0 - left_) / kBlock; left <= (box.x1 - left_) / kBlock;
           ++left) {
        const int x = left_ + left * kBlock, y = top_ + top * kBlock;
        const Box part{std::max(box.x0, x), std::max(box.y0, y),
                       std::min(box.x1, x + kBlock - 1),
                       std::min(box.y1, y + kBlock - 1)};
        if (nearest >= farthest(top * kBlocks + left)) continue;
        if (edges.miss(x_[part.x0], x_[part.x1], y_[part.y0], y_[part.y1])) continue;
        draw_block(t, x, part, id);
      }
    }
  }

  void draw_block(const Triangle& t, int x, const Box& part, int32_t id) {
    const Spread a(t.a), b(t.b), c(t.c);
    const Floats px = lanes::load(x_ + x);
    const Floats ax = moved(a.x, px, a.w), bx = moved(b.x, px, b.w);
    const Floats cx = moved(c.x, px, c.w);
    const uint32_t allowed =
        (0xffffu >> (kBlock - 1 - (part.x1 - x))) & (0xffffu << (part.x0 - x));
    for (int y = part.y0; y <= part.y1; ++y) {
      const float row = y_[y];
      const Floats ay = lanes::fill(coverage::moved(t.a.y, row, t.a.w));
      const Floats by = lanes::fill(coverage::moved(t.b.y, row, t.b.w));
      const Floats cy = lanes::fill(coverage::moved(t.c.y, row, t.c.w));
      const Sixteen seen(t, ax, ay, bx, by, cx, cy, px, lanes::fill(row), allowed);
      if (seen.hits) keep(seen, (y - top_) * kTile + x - left_, id);
    }
  }

  bool admitted(int at, float near, int32_t id) const {
    if (!behind_.depth) return true;
    return behind_.admits(int64_t{top_ + at / kTile} * width_ + left_ + at % kTile,
                          near, id);
  }

  void keep(Sixteen seen, int at, int32_t id) {
    if (behind_.depth) {
      for (uint32_t rest = seen.hits; rest; rest &= rest - 1) {
        const int k = __builtin_ctz(rest);
        if (!admitted(at + k, seen.near[k], id)) seen.hits &= ~(1u << k);
      }
    }
    const Ints place{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Floats before = lanes::load(depth_ + at);
    const Ints hit = ((lanes::fill(int32_t(seen.hits)) >> place) & 1) != 0;
    const Ints wins = hit & (seen.near < before);
    lanes::store(depth_ + at, lanes::select(wins, seen.near, before));
    lanes::store(ids_ + at,
                 lanes::select(wins, lanes::fill(id), lanes::load(ids_ + at)));
    changed(at);
  }

  static Floats by_row(const float* y) {
    return Floats{y[0], y[0], y[0], y[0], y[1], y[1], y[1], y[1],
                  y[2], y[2], y[2], y[2], y[3], y[3], y[3], y[3]};
  }

  static Floats by_column(const float* x) {
    return Floats{x[0], x[1], x[2], x[3], x[0], x[1], x[2], x[3],
                  x[0], x[1], x[2], x[3], x[0], x[1], x[2], x[3]};
  }

  void changed(int at) {
    stale_ |= 1u << (at / kTile / kBlock * kBlocks + at % kTile / kBlock);
  }

  // Returns the farthest depth of a block, computing it again if something was drawn
  // there.
  float farthest(int block) {
    if (stale_ >> block & 1) {
      const float* from =
          depth_ + block / kBlocks * kBlock * kTile + block % kBlocks * kBlock;
      Floats most = lanes::load(from);
      for (int j = 1; j < kBlock; ++j) {
        const Floats row = lanes::load(from + j * kTile);
        most = lanes::select(row > most, row, most);
      }
      float value = most[0];
      for (int k = 1; k < kBlock; ++k) value = std::max(value, most[k]);
      farthest_[block] = value;
      stale_ &= ~(1u << block);
      tile_stale_ = true;
    }
    return farthest_[block];
  }

  float farthest() {
    if (stale_ || tile_stale_) {
      farthest_of_all_ = farthest(0);
      for (int k = 1; k < kBlocks * kBlocks; ++k) {
        farthest_of_all_ = std::max(farthest_of_all_, farthest(k));
      }
      tile_stale_ = false;
    }
    return farthest_of_all_;
  }

  const int left_, top_, width_, columns_, rows_;
  const float *x_, *y_;
  const Behind behind_;
  alignas(64) float depth_[kTile * kTile];
  alignas(64) int32_t ids_[kTile * kTile];
  float farthest_[kBlocks * kBlocks];
  float farthest_of_all_ = INFINITY;
  // Blocks that were drawn into since their farthest depth was computed.
  uint32_t stale_ = (1u << kBlocks * kBlocks) - 1;
  bool tile_stale_ = true;
};

}  // namespace affjax::raster

#endif  // AFFJAX_CSRC_RASTER_TILE_H_
