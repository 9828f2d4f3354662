// Search for the triangle of each pixel, on the CPU.
//
// Vertices are scaled and projected once. Triangles whose bounding box holds no pixel
// center are dropped. The others are listed for each tile of 64 x 64 pixels that they
// may touch: they are first counted, for lists of the exact length, then written in
// ascending order. Tiles are drawn independently of each other. The result does not
// depend on which thread does what.
#ifndef AFFJAX_CSRC_RASTER_SEARCH_H_
#define AFFJAX_CSRC_RASTER_SEARCH_H_

#include <math.h>
#include <stdint.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "coverage.h"
#include "raster_tile.h"

namespace affjax::raster {

// Largest number of list entries in memory at a time, unless one chunk needs more.
constexpr int64_t kEntries = int64_t{1} << 24;
// Images are processed together up to about this many triangles or vertices.
constexpr int64_t kTogether = int64_t{1} << 18;
constexpr int64_t kVertices = 4096;

// Uninitialized memory.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t size) : data_(new T[std::max<int64_t>(size, 1)]) {}
  T* get() { return data_.get(); }
  T& operator[](int64_t i) { return data_[i]; }

 private:
  std::unique_ptr<T[]> data_;
};

struct Vertex {
  enum Kind : int32_t { kUnusable, kBehind, kFront };
  Corner corner;
  // Place in the image (pixels) and z/w, for vertices well in front of the eye.
  float x, y, depth;
  Kind kind;
};

inline Vertex project(const float* pos, int width, int height) {
  Vertex v;
  v.x = v.y = v.depth = 0;
  if (!coverage::scaled(pos, v.corner)) {
    v.kind = Vertex::kUnusable;
    return v;
  }
  const Corner& c = v.corner;
  v.kind = c.w > coverage::kTinyW ? Vertex::kFront : Vertex::kBehind;
  if (v.kind == Vertex::kFront) {
    const float scale = 1.0f / c.w;
    // All places far outside are alike, and an int could not hold them.
    v.x = std::clamp((c.x * scale + 1.0f) * (0.5f * width) - 0.5f, -4.0f, width + 4.0f);
    v.y =
        std::clamp((c.y * scale + 1.0f) * (0.5f * height) - 0.5f, -4.0f, height + 4.0f);
    v.depth = c.z * scale;
  }
  return v;
}

// A triangle that may cover pixels.
struct Item {
  Box box;
  // A lower bound of its depth.
  float nearest;
  int32_t triangle;
};

class Search {
 public:
  // Writes `ids` and, unless null, `depth` (infinity where empty) [B, H, W]. Unless the
  // images of `behind` are null, only triangles behind them are visible.
  Search(const float* pos, const int32_t* tri, int64_t batch, int64_t vertices,
         int64_t triangles, int height, int width, int32_t* ids, float* depth = nullptr,
         Behind behind = {nullptr, nullptr})
      : pos_(pos),
        tri_(tri),
        vertices_(vertices),
        triangles_(triangles),
        height_(height),
        width_(width),
        ids_(ids),
        depth_(depth),
        behind_(behind),
        columns_((width + kTile - 1) / kTile),
        rows_((height + kTile - 1) / kTile),
        tiles_(int64_t{columns_} * rows_),
        chunk_(std::max<int64_t>(1024, (triangles + 1023) / 1024)),
        chunks_((triangles + chunk_ - 1) / chunk_),
        images_(std::clamp<int64_t>(
            kTogether / std::max<int64_t>({triangles, vertices, tiles_, 1}), 1,
            std::max<int64_t>(batch, 1))),
        batch_(batch),
        x_(centers(width)),
        y_(centers(height)),
        vertex_(images_ * vertices),
        item_(images_ * triangles),
        kept_(images_ * chunks_),
        ends_(images_ * chunks_ * tiles_) {}

  // `parallel(n, f)` calls `f(i)` for every i of [0, n) and returns when all are done.
  template <typename Parallel>
  void run(const Parallel& parallel) {
    for (int64_t first = 0; first < batch_; first += images_) {
      search(parallel, first, std::min(images_, batch_ - first));
    }
  }

 private:
  static std::vector<float> centers(int size) {
    std::vector<float> all(size + 2 * kBlock);
    for (int i = 0; i < int(all.size()); ++i) all[i] = coverage::center(i, size);
    return all;
  }

  template <typename Parallel>
  void search(const Parallel& parallel, int64_t first, int64_t images) {
    const int64_t parts = (vertices_ + kVertices - 1) / kVertices;
    parallel(images * parts,
             [&](int64_t k) { project_part(first + k / parts, k / parts, k % parts); });
    parallel(images * chunks_, [&](int64_t k) { choose(k / chunks_, k % chunks_); });
    std::unique_ptr<float[]> depth;
    for (int64_t from = 0, to; from < chunks_ || from == 0; from = to) {
      int64_t entries = 0;
      for (to = from; to < chunks_; ++to) {
        const int64_t more = entries_of(images, to);
        if (to > from && entries + more > kEntries) break;
        entries += more;
      }
      const bool resumed = from > 0, last = to >= chunks_;
      if (!last && !depth && !depth_) {
        depth.reset(new float[images * height_ * int64_t{width_}]);
      }
      Scratch<int32_t> lists(entries);
      order(images, from, to);
      parallel(images * (to - from), [&](int64_t k) {
        list(k / (to - from), from + k % (to - from), lists.get());
      });
      parallel(images * tiles_, [&](int64_t k) {
        draw(first, k / tiles_, k % tiles_, from, to, lists.get(), depth.get(), resumed,
             last);
      });
      if (last) break;
    }
  }

  void project_part(int64_t image, int64_t slot, int64_t part) {
    const int64_t end = std::min(vertices_, (part + 1) * kVertices);
    for (int64_t v = part * kVertices; v < end; ++v) {
      vertex_[slot * vertices_ + v] =
          project(pos_ + 4 * (image * vertices_ + v), width_, height_);
    }
  }

  // Keeps the triangles of a chunk that may be visible, and counts their tiles.
  void choose(int64_t slot, int64_t chunk) {
    Item* kept = item_.get() + slot * triangles_ + chunk * chunk_;
    int32_t* count = ends_.get() + (slot * chunks_ + chunk) * tiles_;
    std::fill_n(count, tiles_, 0);
    const int64_t end = std::min(triangles_, (chunk + 1) * chunk_);
    Item* next = kept;
    for (int64_t t = chunk * chunk_; t < end; ++t) {
      if (!may_be_seen(slot, t, *next)) continue;
      for_tiles(slot, *next, [&](int64_t tile) { ++count[tile]; });
      ++next;
    }
    kept_[slot * chunks_ + chunk] = next - kept;
  }

  bool may_be_seen(int64_t slot, int64_t t, Item& item) {
    const int32_t* index = tri_ + 3 * t;
    const uint64_t count = vertices_;
    // Negative numbers become large.
    const uint64_t i = uint32_t(index[0]), j = uint32_t(index[1]);
    const uint64_t k = uint32_t(index[2]);
    if (i >= count || j >= count || k >= count) return false;
    const Vertex* vertex = vertex_.get() + slot * vertices_;
    const Vertex &a = vertex[i], &b = vertex[j], &c = vertex[k];
    if (a.kind == Vertex::kFront && b.kind == Vertex::kFront &&
        c.kind == Vertex::kFront) {
      return in_picture(a, b, c, t, item);
    }
    if (!a.kind || !b.kind || !c.kind) return false;
    if (!(a.corner.w > 0 || b.corner.w > 0 || c.corner.w > 0)) return false;
    item = {{0, 0, width_ - 1, height_ - 1}, -INFINITY, int32_t(t)};
    return true;
  }

  bool in_picture(const Vertex& a, const Vertex& b, const Vertex& c, int64_t t,
                  Item& item) const {
    const auto [left, right] = ends(a.x, b.x, c.x);
    const float slack_x = coverage::kSlack * width_;
    item.box.x0 = std::max(0, first_after(left - slack_x));
    item.box.x1 = std::min(width_ - 1, int(right + slack_x + 8.0f) - 8);
    if (item.box.x0 > item.box.x1) return false;
    const auto [top, bottom] = ends(a.y, b.y, c.y);
    const float slack_y = coverage::kSlack * height_;
    item.box.y0 = std::max(0, first_after(top - slack_y));
    item.box.y1 = std::min(height_ - 1, int(bottom + slack_y + 8.0f) - 8);
    if (item.box.y0 > item.box.y1) return false;
    const auto [near, far] = ends(a.depth, b.depth, c.depth);
    const float slack = 0x1p-20f * std::max(fabsf(near), fabsf(far));
    item.nearest = near - slack;
    item.triangle = int32_t(t);
    return item.nearest <= 1.0f && far + slack >= -1.0f;
  }

  static std::pair<float, float> ends(float p, float q, float r) {
    return {std::min(std::min(p, q), r), std::max(std::max(p, q), r)};
  }

  // Returns the least integer that is not below a number above -8.
  static int first_after(float v) {
    const int below = int(v + 8.0f) - 8;
    return below + (float(below) < v);
  }

  template <typename F>
  void for_tiles(int64_t slot, const Item& item, const F& f) {
    const int left = item.box.x0 / kTile, right = item.box.x1 / kTile;
    const int top = item.box.y0 / kTile, bottom = item.box.y1 / kTile;
    if (left == right && top == bottom) {
      f(int64_t{top} * columns_ + left);
      return;
    }
    const int32_t* index = tri_ + 3 * int64_t{item.triangle};
    const Vertex* vertex = vertex_.get() + slot * vertices_;
    const Edges edges(vertex[index[0]].corner, vertex[index[1]].corner,
                      vertex[index[2]].corner);
    for (int row = top; row <= bottom; ++row) {
      const float y0 = y_[std::max(row * kTile, item.box.y0)];
      const float y1 = y_[std::min(row * kTile + kTile - 1, item.box.y1)];
      for (int column = left; column <= right; ++column) {
        const float x0 = x_[std::max(column * kTile, item.box.x0)];
        const float x1 = x_[std::min(column * kTile + kTile - 1, item.box.x1)];
        if (!edges.miss(x0, x1, y0, y1)) f(int64_t{row} * columns_ + column);
      }
    }
  }

  int64_t entries_of(int64_t images, int64_t chunk) {
    int64_t total = 0;
    for (int64_t slot = 0; slot < images; ++slot) {
      const int32_t* count = ends_.get() + (slot * chunks_ + chunk) * tiles_;
      for (int64_t tile = 0; tile < tiles_; ++tile) total += count[tile];
    }
    return total;
  }

  // Turns counts into the indices where a chunk's part of a tile's list begins.
  void order(int64_t images, int64_t from, int64_t to) {
    int32_t next = 0;
    for (int64_t slot = 0; slot < images; ++slot) {
      for (int64_t tile = 0; tile < tiles_; ++tile) {
        for (int64_t chunk = from; chunk < to; ++chunk) {
          int32_t& place = ends_[(slot * chunks_ + chunk) * tiles_ + tile];
          const int32_t count = place;
          place = next;
          next += count;
        }
      }
    }
  }

  // Writes a chunk's items into the lists; the indices of beginnings become those of
  // ends.
  void list(int64_t slot, int64_t chunk, int32_t* lists) {
    const int64_t first = slot * triangles_ + chunk * chunk_;
    int32_t* place = ends_.get() + (slot * chunks_ + chunk) * tiles_;
    const int32_t count = kept_[slot * chunks_ + chunk];
    for (int32_t k = 0; k < count; ++k) {
      const int32_t at = int32_t(chunk * chunk_) + k;
      for_tiles(slot, item_[first + k],
                [&](int64_t tile) { lists[place[tile]++] = at; });
    }
  }

  void draw(int64_t first, int64_t slot, int64_t tile, int64_t from, int64_t to,
            const int32_t* lists, float* depth, bool resumed, bool last) {
    const int left = int(tile % columns_) * kTile, top = int(tile / columns_) * kTile;
    const int64_t pixels = int64_t{height_} * width_;
    const int64_t picture = (first + slot) * pixels;
    int32_t* ids = ids_ + picture;
    if (depth) depth += slot * pixels;
    if (depth_) depth = depth_ + picture;
    Behind behind = behind_;
    if (behind.depth) behind = {behind.depth + picture, behind.ids + picture};
    Tile canvas(left, top, width_, height_, x_.data(), y_.data(), behind);
    if (resumed) canvas.load(ids, depth, width_);
    // The lists are contiguous in memory.
    const int32_t begin = begin_of(slot, tile, from, to);
    const int32_t end =
        from < to ? ends_[(slot * chunks_ + to - 1) * tiles_ + tile] : 0;
    const Vertex* vertex = vertex_.get() + slot * vertices_;
    for (int32_t k = begin; k < end; ++k) {
      const Item& item = item_[slot * triangles_ + lists[k]];
      const int32_t* index = tri_ + 3 * int64_t{item.triangle};
      canvas.draw(vertex[index[0]].corner, vertex[index[1]].corner,
                  vertex[index[2]].corner, item.box, item.nearest, item.triangle + 1);
    }
    canvas.store(ids, last && !depth_ ? nullptr : depth, width_);
  }

  // Returns where a tile's list begins, which is where the one before it ends.
  int32_t begin_of(int64_t slot, int64_t tile, int64_t from, int64_t to) {
    if (from >= to || (slot == 0 && tile == 0)) return 0;
    if (tile == 0) return ends_[((slot - 1) * chunks_ + to) * tiles_ - 1];
    return ends_[(slot * chunks_ + to - 1) * tiles_ + tile - 1];
  }

  const float* const pos_;
  const int32_t* const tri_;
  const int64_t vertices_, triangles_;
  const int height_, width_;
  int32_t* const ids_;
  float* const depth_;
  const Behind behind_;
  const int columns_, rows_;
  const int64_t tiles_, chunk_, chunks_, images_, batch_;
  const std::vector<float> x_, y_;
  Scratch<Vertex> vertex_;
  Scratch<Item> item_;
  Scratch<int32_t> kept_;
  // For each image, chunk and tile, the number of items, and later where they end in
  // the lists.
  Scratch<int32_t> ends_;
};

}  // namespace affjax::raster

#endif  // AFFJAX_CSRC_RASTER_SEARCH_H_
