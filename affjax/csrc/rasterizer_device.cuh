// The visible triangle of each pixel, on a GPU: device code and launches.
//
// The image is a buffer of 64-bit keys, ~(depth, id), which fragments raise by atomic
// maximum. In any order, the nearest fragment remains, and the lowest id among equals,
// so two runs never differ. A pass processes as many images as have keys that fit in
// the L2 cache. Coverage itself is `coverage.h`, to the bit.
//
// A warp takes 32 triangles. Triangles whose box holds few pixels (those of a face have
// about two) are drawn immediately, with the pixels of all 32 boxes distributed evenly
// over the lanes. Larger triangles are listed with a cumulative number of tiles, and a
// second kernel distributes the tiles of the list over all warps. So no large triangle
// delays a block, and the list cannot overflow, because it has one entry per triangle
// and not per tile.
#ifndef AFFJAX_CSRC_RASTERIZER_DEVICE_CUH_
#define AFFJAX_CSRC_RASTERIZER_DEVICE_CUH_

#include <algorithm>
#include <cstdint>

#include "coverage.h"
#include "rasterizer_edges.cuh"

#ifdef AFFJAX_ON_HOST
#define AFFJAX_LAUNCH(kernel, blocks, threads, stream, ...) \
  cuda_host::launch(kernel, dim3(blocks), dim3(threads), 0, __VA_ARGS__)
#else
#define AFFJAX_LAUNCH(kernel, blocks, threads, stream, ...) \
  kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__)
#endif

namespace affjax::raster {

using coverage::Corner;
using coverage::Triangle;
using Key = unsigned long long;

// Largest number of pixels in the box of a triangle that is drawn immediately.
constexpr int kSmall = 64;
// Side of a tile, pixels; 8 x 4 tiles are a block, which a warp tests at once.
constexpr int kTile = 32;
constexpr int kBlockWidth = 8, kBlockHeight = 4;
constexpr int kThreads = 256, kWarps = kThreads / 32;
// The number of blocks that an H100 holds at once; their warps continue until all tiles
// are done.
constexpr int kLargeBlocks = 528;
// A total is entries << kTileBits | tiles, with entries < 2^25.
constexpr int kTileBits = 39;
constexpr int64_t kMaxTriangles = int64_t{1} << 24;
// Limits of keys (bytes) and triangles of a pass with more than one image.
constexpr int64_t kPassBytes = int64_t{32} << 20, kPassTriangles = int64_t{4} << 20;

// The images [batch, height, width] that are written and read.
struct Pictures {
  int* ids;
  float* depth;  // null if not requested
  // Only fragments behind these count, where at equal depths a greater id lies behind a
  // smaller one. If null, all fragments count.
  const float* behind_depth;
  const int* behind_ids;
};

// The input and output of one pass.
struct Pass {
  const float4* pos;  // [images, vertices]
  const int* tri;     // [triangles, 3]
  int images, vertices, triangles, height, width;
  float per_height, per_width;  // reciprocals, 0 = unknown
  int tile;                     // side, pixels, a multiple of kTile
  Key* total;                   // entries and tiles of the list
  Key* keys;                    // [images, height, width], 0 = empty
  Key* starts;                  // by entry: tiles before its own
  unsigned* list;               // by entry: image * triangles + triangle
  Pictures pictures;            // from the pass's first image on
};

// Largest side of an image for which `quick_center` was compared at every pixel.
constexpr int kQuickSide = 16384;

// Returns the same bits as `coverage::center`, by the reciprocal and a correction by
// the remainder.
AFFJAX_HD float quick_center(int i, int size, float reciprocal) {
  if (reciprocal == 0.0f) return coverage::center(i, size);
  const float number = static_cast<float>(2 * i + 1);
  const float quotient = coverage::mul(number, reciprocal);
  const float rest = coverage::fma(-quotient, static_cast<float>(size), number);
  return coverage::sub(coverage::fma(rest, reciprocal, quotient), 1.0f);
}

__device__ inline float center_x(const Pass& pass, int column) {
  return quick_center(column, pass.width, pass.per_width);
}

__device__ inline float center_y(const Pass& pass, int row) {
  return quick_center(row, pass.height, pass.per_height);
}

// The first and last column and row that a triangle may cover.
struct Box {
  int low_x, low_y, high_x, high_y;
};

// Computes triangle `owner` and its box. Returns false if it cannot be visible.
__device__ inline bool fetch(const Pass& pass, unsigned owner, Triangle& out,
                             Box& box) {
  const int image = owner / pass.triangles;
  const int* corner = pass.tri + int64_t{3} * (owner % pass.triangles);
  const int i = corner[0], j = corner[1], k = corner[2];
  const unsigned count = pass.vertices;
  if (unsigned(i) >= count || unsigned(j) >= count || unsigned(k) >= count)
    return false;
  const float4* vertex = pass.pos + int64_t{image} * pass.vertices;
  const float4 p = vertex[i], q = vertex[j], r = vertex[k];
  const float first[4] = {p.x, p.y, p.z, p.w}, second[4] = {q.x, q.y, q.z, q.w},
              third[4] = {r.x, r.y, r.z, r.w};
  return coverage::set_up(first, second, third, out) &&
         coverage::box(out, pass.width, pass.height, box.low_x, box.low_y, box.high_x,
                       box.high_y);
}

// Raises a pixel's key to that of a fragment.
__device__ inline void offer(Key* pixel, float depth, unsigned id) {
  // -0 and 0 are the same depth.
  const unsigned bits = __float_as_uint(__fadd_rn(depth, 0.0f));
  const unsigned ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  const Key key = ~(Key{ascending} << 32 | id);
  // Keys only grow, so a key that is below an old value is below the current one.
  if (*static_cast<volatile const Key*>(pixel) < key) atomicMax(pixel, key);
}

__device__ inline void draw_pixel(const Pass& pass, const Triangle& triangle, int x,
                                  int y, int image, unsigned id) {
  float depth;
  if (!coverage::covers(triangle, center_x(pass, x), center_y(pass, y), depth)) return;
  const int64_t pixel = (int64_t{image} * pass.height + y) * pass.width + x;
  if (pass.pictures.behind_depth) {
    const float before = pass.pictures.behind_depth[pixel];
    if (!(depth > before)) {
      if (depth != before || int(id) <= pass.pictures.behind_ids[pixel]) return;
    }
  }
  offer(pass.keys + pixel, depth, id);
}

// Returns the sum over the lanes up to and including this one.
template <class T>
__device__ T running_total(T value) {
  const int lane = threadIdx.x % 32;
  for (int by = 1; by < 32; by *= 2) {
    const T before = __shfl_up_sync(~0u, value, by);
    if (lane >= by) value += before;
  }
  return value;
}

// Appends the triangles of lanes that have tiles to the list of large triangles.
__device__ inline void enlist(const Pass& pass, unsigned owner, Key tiles) {
  const unsigned mine = __ballot_sync(~0u, tiles > 0);
  if (!mine) return;
  const int lane = threadIdx.x % 32;
  const Key through = running_total(tiles);
  const Key all = __shfl_sync(~0u, through, 31);
  Key before = 0;
  if (lane == 0) before = atomicAdd(pass.total, Key(__popc(mine)) << kTileBits | all);
  before = __shfl_sync(~0u, before, 0);
  if (!tiles) return;
  const Key entry = (before >> kTileBits) + __popc(mine & ((1u << lane) - 1));
  pass.starts[entry] = (before & ((Key{1} << kTileBits) - 1)) + through - tiles;
  pass.list[entry] = owner;
}

// The small triangles of a warp, stored word by word to avoid bank conflicts.
struct Pool {
  float corner[12][32];
  int end[32];  // pixels of this triangle's box and of those before
  int pixels[32], width[32], low_x[32], low_y[32];  // of its box
  unsigned reciprocal[32];  // of the width, in 1 / 65536, rounded up
  int image[32];
  unsigned id[32];
};

__device__ inline void fill(Pool& pool, const Triangle& t, const Box& box) {
  const int lane = threadIdx.x % 32;
  const float words[12] = {t.a.x, t.a.y, t.a.z, t.a.w, t.b.x, t.b.y,
                           t.b.z, t.b.w, t.c.x, t.c.y, t.c.z, t.c.w};
  for (int k = 0; k < 12; ++k) pool.corner[k][lane] = words[k];
  const int width = box.high_x - box.low_x + 1;
  pool.width[lane] = width;
  pool.reciprocal[lane] = 65535u / width + 1;
  pool.low_x[lane] = box.low_x;
  pool.low_y[lane] = box.low_y;
}

__device__ inline Triangle triangle_of(const Pool& pool, int k) {
  const auto& c = pool.corner;
  return {{c[0][k], c[1][k], c[2][k], c[3][k]},
          {c[4][k], c[5][k], c[6][k], c[7][k]},
          {c[8][k], c[9][k], c[10][k], c[11][k]}};
}

// Draws the small triangles and lists the large ones, with one lane per triangle.
__global__ void __launch_bounds__(kThreads) draw_small(const Pass pass) {
  __shared__ Pool pools[kWarps];
  Pool& pool = pools[threadIdx.x / 32];
  const unsigned owner = blockIdx.x * unsigned(kThreads) + threadIdx.x;
  Triangle triangle;
  Box box;
  int pixels = 0;
  Key tiles = 0;
  if (owner < unsigned(pass.images) * pass.triangles &&
      fetch(pass, owner, triangle, box)) {
    const int across = box.high_x - box.low_x, down = box.high_y - box.low_y;
    if (int64_t{across + 1} * (down + 1) <= kSmall) {
      pixels = (across + 1) * (down + 1);
    } else {
      tiles = Key(across / pass.tile + 1) * (down / pass.tile + 1);
    }
  }
  enlist(pass, owner, tiles);
  const int lane = threadIdx.x % 32, end = running_total(pixels);
  const int total = __shfl_sync(~0u, end, 31);
  pool.end[lane] = end;
  if (pixels) {
    fill(pool, triangle, box);
    pool.pixels[lane] = pixels;
    pool.image[lane] = owner / pass.triangles;
    pool.id[lane] = owner % pass.triangles + 1;
  }
  __syncwarp();
  for (int item = lane; item < total; item += 32) {
    int k = 0;  // triangles that end at or before the item
    for (int by = 16; by; by /= 2)
      if (pool.end[k + by - 1] <= item) k += by;
    const int place = item - (pool.end[k] - pool.pixels[k]);
    // Exact, as place * width < 2^16.
    const int row = place * pool.reciprocal[k] >> 16;
    const int column = place - row * pool.width[k];
    draw_pixel(pass, triangle_of(pool, k), pool.low_x[k] + column, pool.low_y[k] + row,
               pool.image[k], pool.id[k]);
  }
}

// Returns the last entry that starts at or before `item`; all lanes of a warp search
// together.
__device__ inline int64_t find_entry(const Key* starts, int64_t entries, Key item) {
  const int lane = threadIdx.x % 32;
  int64_t low = 0;
  for (int64_t count = entries; count > 1;) {
    const int64_t step = (count + 31) / 32;
    const int64_t probe = low + lane * step;
    const bool before = lane * step < count && starts[probe] <= item;
    const int chosen = __popc(__ballot_sync(~0u, before)) - 1;
    low += chosen * step;
    count = min(step, count - chosen * step);
  }
  return low;
}

// Draws the part of a triangle within a square of kTile pixels, with a whole warp.
__device__ inline void draw_square(const Pass& pass, const Triangle& triangle,
                                   const Edges& edges, const Box& box, int x, int y,
                                   int image, unsigned id) {
  const int lane = threadIdx.x % 32;
  constexpr int columns = kTile / kBlockWidth;
  const int left = x + lane % columns * kBlockWidth;
  const int top = y + lane / columns * kBlockHeight;
  bool wanted = left <= box.high_x && top <= box.high_y;
  if (wanted) {
    const int right = min(left + kBlockWidth - 1, box.high_x);
    const int bottom = min(top + kBlockHeight - 1, box.high_y);
    const Span across = {center_x(pass, left), center_x(pass, right)};
    const Span down = {center_y(pass, top), center_y(pass, bottom)};
    wanted = !edges.miss(across, down);
  }
  for (unsigned left_over = __ballot_sync(~0u, wanted); left_over;
       left_over &= left_over - 1) {
    const int block = __ffs(left_over) - 1;
    const int column = x + block % columns * kBlockWidth + lane % kBlockWidth;
    const int row = y + block / columns * kBlockHeight + lane / kBlockWidth;
    if (column <= box.high_x && row <= box.high_y)
      draw_pixel(pass, triangle, column, row, image, id);
  }
}

// Draws the listed triangles, with one warp per tile.
__global__ void __launch_bounds__(kThreads) draw_large(const Pass pass) {
  const Key total = *pass.total;
  const Key tiles = total & ((Key{1} << kTileBits) - 1);
  const Key warps = Key{gridDim.x} * kWarps;
  for (Key item = blockIdx.x * Key{kWarps} + threadIdx.x / 32; item < tiles;
       item += warps) {
    const int64_t entry = find_entry(pass.starts, total >> kTileBits, item);
    const int64_t local = item - pass.starts[entry];
    const unsigned owner = pass.list[entry];
    Triangle triangle;
    Box box;
    fetch(pass, owner, triangle, box);
    const int across = (box.high_x - box.low_x) / pass.tile + 1;
    const int left = box.low_x + int(local % across) * pass.tile;
    const int top = box.low_y + int(local / across) * pass.tile;
    const Edges edges(triangle);
    for (int y = top; y < top + pass.tile && y <= box.high_y; y += kTile)
      for (int x = left; x < left + pass.tile && x <= box.high_x; x += kTile)
        draw_square(pass, triangle, edges, box, x, y, owner / pass.triangles,
                    owner % pass.triangles + 1);
  }
}

// Returns the depth in a key, which is infinite if it is empty.
__device__ inline float depth_of(Key key) {
  const unsigned ascending = unsigned(~key >> 32);
  if (!key) return __uint_as_float(0x7f800000u);
  return __uint_as_float(ascending & 0x80000000u ? ascending ^ 0x80000000u
                                                 : ~ascending);
}

// Writes images from keys, with two pixels per thread.
__global__ void __launch_bounds__(kThreads)
    write(const Key* keys, int* ids, float* depth, int64_t pixels) {
  const int64_t pixel = 2 * (int64_t{blockIdx.x} * kThreads + threadIdx.x);
  for (int64_t p = pixel; p < min(pixel + 2, pixels); ++p) {
    ids[p] = keys[p] ? int(~unsigned(keys[p])) : 0;
    if (depth) depth[p] = depth_of(keys[p]);
  }
}

// The division of a call's images into passes.
struct Plan {
  int images;  // in a pass
  int tile;
  int64_t bytes;                    // of scratch memory
  int large_blocks = kLargeBlocks;  // of the grid that draws large triangles

  Plan(int64_t batch, int64_t triangles, int64_t height, int64_t width,
       int64_t pass_bytes = kPassBytes) {
    const int64_t pixels = height * width;
    const int64_t fit = std::min(pass_bytes / int64_t(sizeof(Key)) / pixels,
                                 kPassTriangles / triangles);
    images = int(std::max<int64_t>(1, std::min(batch, fit)));
    const auto tiles = [&](int64_t side) {
      return ((width - 1) / side + 1) * ((height - 1) / side + 1);
    };
    tile = kTile;
    while (tiles(tile) >= (int64_t{1} << kTileBits) / (images * triangles)) tile *= 2;
    bytes = (1 + images * pixels) * sizeof(Key) +
            images * triangles * (sizeof(Key) + sizeof(unsigned));
  }
};

// Rasterizes a batch; `scratch` has `plan.bytes` bytes.
inline void rasterize(cudaStream_t stream, const Plan& plan, void* scratch,
                      const float* pos, const int* tri, const Pictures& pictures,
                      int64_t batch, int vertices, int triangles, int height,
                      int width) {
  const int64_t pixels = int64_t{height} * width;
  Pass pass{};
  pass.tri = tri;
  pass.vertices = vertices;
  pass.triangles = triangles;
  pass.height = height;
  pass.width = width;
  pass.per_height = height <= kQuickSide ? 1.0f / height : 0.0f;
  pass.per_width = width <= kQuickSide ? 1.0f / width : 0.0f;
  pass.tile = plan.tile;
  pass.total = static_cast<Key*>(scratch);
  pass.keys = pass.total + 1;
  pass.starts = pass.keys + plan.images * pixels;
  pass.list =
      reinterpret_cast<unsigned*>(pass.starts + int64_t{plan.images} * triangles);
  for (int64_t image = 0; image < batch; image += plan.images) {
    pass.images = int(std::min<int64_t>(plan.images, batch - image));
    pass.pos = reinterpret_cast<const float4*>(pos) + image * vertices;
    const int64_t drawn = pass.images * pixels, before = image * pixels;
    pass.pictures = pictures;
    pass.pictures.ids += before;
    if (pictures.depth) pass.pictures.depth += before;
    if (pictures.behind_depth) {
      pass.pictures.behind_depth += before;
      pass.pictures.behind_ids += before;
    }
    cudaMemsetAsync(scratch, 0, (1 + drawn) * sizeof(Key), stream);
    const int64_t setups = int64_t{pass.images} * triangles;
    AFFJAX_LAUNCH(draw_small, unsigned((setups - 1) / kThreads + 1), kThreads, stream,
                  pass);
    AFFJAX_LAUNCH(draw_large, plan.large_blocks, kThreads, stream, pass);
    AFFJAX_LAUNCH(write, unsigned((drawn - 1) / (2 * kThreads) + 1), kThreads, stream,
                  pass.keys, pass.pictures.ids, pass.pictures.depth, drawn);
  }
}

}  // namespace affjax::raster

#endif  // AFFJAX_CSRC_RASTERIZER_DEVICE_CUH_
