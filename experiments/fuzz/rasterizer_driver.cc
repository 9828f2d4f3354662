// Random scenes for the rasterizer, compared with the definition at every pixel.
//
// Built with address and undefined-behaviour sanitizers by `fuzz_rasterizer.py`: once
// with the CPU's search and, with AFFJAX_ON_HOST, with CUDA's device code run on the
// CPU. The nearest surface, and the next behind it. Then, for the sanitizers alone, the
// places in triangles, their gradient and the silhouettes of what was found and of ids
// that nobody would find. Every buffer is as large as it must be and no larger.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#ifdef AFFJAX_ON_HOST
#include "cuda_host.h"
#include "locate_device.cuh"
#include "rasterizer_device.cuh"
#include "silhouettes_device.cuh"
#else
#include "raster_locate.h"
#include "raster_search.h"
#include "silhouettes.h"
#endif
#include "coverage.h"

namespace coverage = affjax::coverage;
namespace raster = affjax::raster;
namespace silhouettes = affjax::silhouettes;

namespace {

std::mt19937_64 rng;

int pick(int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(rng);
}
float normal() { return std::normal_distribution<float>()(rng); }

// Returns an extreme coordinate.
float hostile() {
  const float inf = std::numeric_limits<float>::infinity();
  const float choices[] = {0.0f,   -0.0f,  1.0f,   -1.0f,   1e-40f,        1e-30f,
                           -1e-6f, 1e9f,   -3e38f, 3.4e38f, std::nanf(""), inf,
                           -inf,   1e-20f, 0.5f,   -1e30f};
  return choices[pick(0, 15)];
}

struct Scene {
  int batch, vertices, triangles, height, width;
  std::unique_ptr<float[]> pos;
  std::unique_ptr<int[]> tri;
};

// Loose triangles, small ones, ones on the pixel grid, slivers; some corrupt.
Scene random_scene() {
  Scene s{pick(0, 9) ? pick(1, 3) : 0,
          pick(0, 24),
          pick(0, 30),
          pick(1, 30),
          pick(1, 40),
          nullptr,
          nullptr};
  if (pick(0, 200) == 0) s.width = pick(100, 900), s.height = pick(1, 3);
  const size_t corners = size_t(s.batch) * s.vertices;
  // The buffer has the exact size, and the alignment of XLA's buffers.
  s.pos.reset(new float[4 * corners]);
  s.tri.reset(new int[3 * s.triangles]);
  const int kind = pick(0, 5);
  const float size = std::exp(float(pick(-40, 10)) / 10), x = normal() / 2;
  for (size_t i = 0; i < corners; ++i) {
    float p[4] = {x + size * normal(), size * normal(), normal() / 2, 1};
    if (kind == 1) p[3] = normal();
    if (kind == 2) {
      p[0] = float(2 * pick(-2, s.width + 2) + 1) / s.width - 1;
      p[1] = float(2 * pick(-2, s.height + 2) + 1) / s.height - 1;
      p[2] = float(pick(-2, 2)) / 2;
    }
    if (kind == 3) p[1] = 0.5f * p[0] + (pick(0, 2) ? 0 : 1e-6f * normal());
    const float scale = kind == 4 ? std::exp(float(pick(-60, 60))) : 1;
    for (int k = 0; k < 4; ++k)
      s.pos[4 * i + k] = kind == 5 && !pick(0, 15) ? hostile() : scale * p[k];
  }
  for (int i = 0; i < 3 * s.triangles; ++i) {
    s.tri[i] = s.vertices ? pick(0, s.vertices - 1) : 0;
    if (kind == 5 && !pick(0, 20)) {
      const int bad[] = {-1, s.vertices, std::numeric_limits<int>::max(),
                         std::numeric_limits<int>::min()};
      s.tri[i] = bad[pick(0, 3)];
    }
  }
  return s;
}

// The visible triangles of a scene, and their depths.
struct Layer {
  std::unique_ptr<int[]> ids;
  std::unique_ptr<float[]> depth;

  Layer(size_t pixels, int id, float far)
      : ids(new int[pixels]), depth(new float[pixels]) {
    std::fill(ids.get(), ids.get() + pixels, id);
    std::fill(depth.get(), depth.get() + pixels, far);
  }
};

void define(const Scene& s, const Layer& behind, Layer& out) {
  for (int item = 0; item < s.batch * s.triangles; ++item) {
    const int image = item / s.triangles, t = item % s.triangles;
    const float* corner[3];
    bool there = true;
    for (int k = 0; k < 3; ++k) {
      const int v = s.tri[3 * t + k];
      there &= v >= 0 && v < s.vertices;
      if (there) corner[k] = s.pos.get() + 4 * (image * s.vertices + v);
    }
    coverage::Triangle triangle;
    if (!there || !coverage::set_up(corner[0], corner[1], corner[2], triangle))
      continue;
    for (int y = 0; y < s.height; ++y)
      for (int x = 0; x < s.width; ++x) {
        float near;
        const int p = (image * s.height + y) * s.width + x;
        if (coverage::covers(triangle, coverage::center(x, s.width),
                             coverage::center(y, s.height), near) &&
            near < out.depth[p] &&
            (near > behind.depth[p] ||
             (near == behind.depth[p] && t + 1 > behind.ids[p])))
          out.depth[p] = near, out.ids[p] = t + 1;
      }
  }
}

#ifdef AFFJAX_ON_HOST
void search(const Scene& s, const Layer* behind, Layer& out) {
  if (!s.batch) return;
  const int64_t room = pick(0, 1) ? 1 << 25 : 8 * s.height * s.width;
  raster::Plan plan(s.batch, std::max(s.triangles, 1), s.height, s.width, room);
  plan.large_blocks = pick(1, 3);
  cuda_host::order = pick(0, 50);
  void* scratch = std::malloc(plan.bytes);
  std::memset(scratch, 0xa5, plan.bytes);
  raster::Pictures pictures = {out.ids.get(), out.depth.get(), nullptr, nullptr};
  if (behind) {
    pictures.behind_depth = behind->depth.get();
    pictures.behind_ids = behind->ids.get();
  }
  raster::rasterize(nullptr, plan, scratch, s.pos.get(), s.tri.get(), pictures, s.batch,
                    s.vertices, s.triangles, s.height, s.width);
  std::free(scratch);
  if (cudaGetLastError()) std::printf("%s\n", cuda_host::error), std::exit(1);
}

// Memory only: what is found is compared in tests/render.
void locate(const Scene& s, const int* ids, float* rast, float* slopes) {
  const affjax::locate::Seen seen = {reinterpret_cast<const float4*>(s.pos.get()),
                                     s.tri.get(),
                                     ids,
                                     s.vertices,
                                     s.triangles,
                                     s.height,
                                     s.width};
  const int64_t pixels = int64_t{s.batch} * s.height * s.width;
  if (!pixels) return;
  cuda_host::launch(affjax::locate::locate_pixels, dim3(2), dim3(256), 0, seen, pixels,
                    reinterpret_cast<float4*>(rast), reinterpret_cast<float4*>(slopes));
  if (cudaGetLastError()) std::printf("%s\n", cuda_host::error), std::exit(1);
}

void walk(const silhouettes::Images& images, int batch,
          const silhouettes::Found& found) {
  if (!batch) return;
  cuda_host::launch(silhouettes::find_edges, dim3(2, 2), 256, 0, images, int64_t{batch},
                    found);
  if (cudaGetLastError()) std::printf("%s\n", cuda_host::error), std::exit(1);
}
#else
void search(const Scene& s, const Layer* behind, Layer& out) {
  if (!s.batch) return;
  raster::Behind limits = {nullptr, nullptr};
  if (behind) limits = {behind->depth.get(), behind->ids.get()};
  raster::Search search(s.pos.get(), s.tri.get(), s.batch, s.vertices, s.triangles,
                        s.height, s.width, out.ids.get(), out.depth.get(), limits);
  const int64_t threads = pick(0, 20) ? 1 : 2;
  search.run([&](int64_t items, const auto& work) {
    std::vector<std::thread> running;
    for (int64_t t = 1; t < threads; ++t)
      running.emplace_back([&, t] {
        for (int64_t i = t; i < items; i += threads) work(i);
      });
    for (int64_t i = 0; i < items; i += threads) work(i);
    for (std::thread& thread : running) thread.join();
  });
}

// Memory only: what is found is compared in tests/render.
void locate(const Scene& s, const int* ids, float* rast, float* slopes) {
  const raster::Seen seen(s.pos.get(), s.tri.get(), ids, s.vertices, s.triangles,
                          s.height, s.width);
  for (int line = 0; line < s.batch * s.height; ++line)
    seen.locate_line(line, rast, slopes);
  const std::unique_ptr<float[]> gradient(new float[size_t(4) * s.batch * s.vertices]);
  const auto alone = [](int64_t items, const auto& work) {
    for (int64_t i = 0; i < items; ++i) work(i);
  };
  raster::pull_all(alone, seen, s.batch, s.height, s.vertices, rast, slopes,
                   gradient.get());
}

struct Found {
  int *start_x, *end_x, *start_y, *end_y;
};

void walk(const silhouettes::Images& s, int batch, const Found& found) {
  int64_t at_x = 0, at_y = 0;
  for (int line = 0; line < batch * s.height; ++line) {
    const int image = line / s.height, y = line % s.height;
    for (int x = 0; x + 1 < s.width; ++x, ++at_x)
      silhouettes::edge_of(s, image, y, x, false, found.start_x[at_x],
                           found.end_x[at_x]);
    for (int x = 0; x < s.width && y + 1 < s.height; ++x, ++at_y)
      silhouettes::edge_of(s, image, y, x, true, found.start_y[at_y],
                           found.end_y[at_y]);
  }
}
#endif

// Along silhouettes of a surface whose triangles touch each other by chance.
void antialias(const Scene& s, const Layer& seen) {
  const size_t rows = size_t(s.batch) * s.triangles * 9,
               sides = size_t(3) * s.triangles;
  const std::unique_ptr<float[]> row(new float[rows]);
  const std::unique_ptr<int[]> neighbor(new int[sides]);
  for (size_t i = 0; i < rows; ++i) {
    row[i] = i % 9 < 6 ? float(pick(-2, s.width + 2)) : float(pick(-1, 1));
    if (i % 9 < 6 && pick(0, 1)) row[i] += normal();
    if (!pick(0, 40)) row[i] = hostile();
  }
  const int bad[] = {-1, s.triangles, std::numeric_limits<int>::max(),
                     std::numeric_limits<int>::min()};
  for (size_t i = 0; i < sides; ++i)
    neighbor[i] = pick(0, 9) ? pick(0, s.triangles - 1) : bad[pick(0, 3)];
  const size_t along_x = size_t(s.batch) * s.height * (s.width - 1);
  const size_t along_y = size_t(s.batch) * (s.height - 1) * s.width;
  const std::unique_ptr<int[]> start_x(new int[along_x]), end_x(new int[along_x]);
  const std::unique_ptr<int[]> start_y(new int[along_y]), end_y(new int[along_y]);
  walk({seen.ids.get(), seen.depth.get(), row.get(), neighbor.get(), s.tri.get(),
        s.height, s.width, s.triangles},
       s.batch, {start_x.get(), end_x.get(), start_y.get(), end_y.get()});
}

// Ids that no search returns.
void spoil(const Scene& s, int* ids, size_t pixels) {
  const int bad[] = {-1, s.triangles + 1, std::numeric_limits<int>::max(),
                     std::numeric_limits<int>::min(), s.triangles};
  for (size_t p = 0; p < pixels; ++p)
    if (!pick(0, 9)) ids[p] = bad[pick(0, 4)];
}

}  // namespace

int main(int, char** arguments) {
  const long cases = std::atol(arguments[1]), first = std::atol(arguments[2]);
  long differ = 0, covered = 0;
  for (long seed = first; seed < first + cases; ++seed) {
    rng.seed(seed);
    const Scene s = random_scene();
    const size_t pixels = size_t(s.batch) * s.height * s.width;
    Layer before(pixels, 0, -INFINITY), got(pixels, -7, -7), want(pixels, 0, INFINITY);
    for (int layer = 0; layer < 2; ++layer) {
      search(s, layer ? &before : nullptr, got);
      define(s, before, want);
      for (size_t p = 0; p < pixels; ++p) {
        covered += want.ids[p] > 0;
        if (got.ids[p] == want.ids[p] && got.depth[p] == want.depth[p]) continue;
        if (!differ++)
          std::printf("case %ld, layer %d, pixel %zu: %d instead of %d\n", seed, layer,
                      p, got.ids[p], want.ids[p]);
      }
      std::swap(before, want);
      want = Layer(pixels, 0, INFINITY);
    }
    spoil(s, got.ids.get(), pixels);
    const std::unique_ptr<float[]> rast(new float[4 * pixels]);
    const std::unique_ptr<float[]> slopes(new float[4 * pixels]);
    locate(s, got.ids.get(), rast.get(), pick(0, 1) ? slopes.get() : nullptr);
    antialias(s, got);
  }
  std::printf("%ld scenes: %ld pixels covered, %ld differ\n", cases, covered, differ);
  return differ != 0;
}
