// The CUDA rasterizer without JAX: random scenes against the definition, then times.
// Small enough for compute-sanitizer.
//
//   nvcc -std=c++17 -O3 -arch=native -Iaffjax/csrc experiments/gpu/rasterizer_check.cu
//   ./a.out SCENES     # 0: times only; below 0: as many scenes and no times
//
// Prints "RESULT {json}"; exit status 1 if a pixel differs or a CUDA call fails.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "rasterizer_device.cuh"

namespace coverage = affjax::coverage;
namespace raster = affjax::raster;

static void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

struct Scene {
  int batch, vertices, triangles, height, width;
  std::vector<float> pos;
  std::vector<int> tri;
};

// Memory of one scene on the device.
struct Device {
  raster::Plan plan;
  float* pos;
  int *tri, *ids;
  void* scratch;

  explicit Device(const Scene& s) : plan(s.batch, s.triangles, s.height, s.width) {
    const size_t pixels = size_t(s.batch) * s.height * s.width;
    check(cudaMalloc(&pos, s.pos.size() * 4), "cudaMalloc");
    check(cudaMalloc(&tri, s.tri.size() * 4), "cudaMalloc");
    check(cudaMalloc(&ids, pixels * 4), "cudaMalloc");
    check(cudaMalloc(&scratch, plan.bytes), "cudaMalloc");
    check(cudaMemset(ids, 0x55, pixels * 4), "poison");
    check(cudaMemset(scratch, 0x55, plan.bytes), "poison");
    check(cudaMemcpy(pos, s.pos.data(), s.pos.size() * 4, cudaMemcpyHostToDevice),
          "pos");
    check(cudaMemcpy(tri, s.tri.data(), s.tri.size() * 4, cudaMemcpyHostToDevice),
          "tri");
  }
  ~Device() {
    for (void* memory : {(void*)pos, (void*)tri, (void*)ids, scratch}) cudaFree(memory);
  }
  void run(const Scene& s) const {
    raster::rasterize(nullptr, plan, scratch, pos, tri,
                      {ids, nullptr, nullptr, nullptr}, s.batch, s.vertices,
                      s.triangles, s.height, s.width);
  }
};

static Scene random_scene(unsigned seed) {
  std::mt19937 random(seed);
  auto below = [&](int n) { return int(random() % unsigned(n)); };
  std::normal_distribution<float> normal;
  Scene s{1 + below(4), 3 + below(100), 1 + below(200), 1 + below(130), 1 + below(130)};
  const int kind = seed % 4;
  const float grid = std::exp2(float(2 + below(4)));
  for (int i = 0; i < s.batch * s.vertices; ++i)
    for (int k = 0; k < 4; ++k) {
      float v = normal(random);
      if (k == 3 && kind < 3) v = std::fabs(v) + 0.5f;
      if (kind == 1) v = k == 3 ? 1 : std::round(v * grid) / grid;
      if (kind == 3 && below(50) == 0) v = below(2) ? INFINITY : NAN;
      s.pos.push_back(v);
    }
  for (int i = 0; i < 3 * s.triangles; ++i)
    s.tri.push_back(kind == 3 && below(50) == 0 ? -5 + below(1000) : below(s.vertices));
  return s;
}

// A sphere of 2 rings (rings + 1) triangles that fills a third of the picture.
static Scene sphere(int rings, int batch, int size) {
  Scene s{batch, (rings + 1) * (rings + 1), 2 * rings * (rings + 1), size, size};
  const double pi = std::acos(-1.0);
  for (int b = 0; b < batch; ++b)
    for (int i = 0; i <= rings; ++i)
      for (int j = 0; j <= rings; ++j) {
        const double theta = pi * i / rings, phi = 2 * pi * j / rings + 0.1 * b + 0.01;
        const double x = std::sin(theta) * std::cos(phi);
        const double z = std::sin(theta) * std::sin(phi), y = std::cos(theta);
        for (double v : {0.68 * x, 0.68 * y, 0.5 * z, 1.0}) s.pos.push_back(float(v));
      }
  for (int i = 0; i < rings; ++i)
    for (int j = 0; j <= rings; ++j) {
      const int a = i * (rings + 1) + j % rings, b = i * (rings + 1) + (j + 1) % rings;
      const int c = a + rings + 1, d = b + rings + 1;
      for (int v : {a, b, c, b, d, c}) s.tri.push_back(v);
    }
  return s;
}

static std::vector<int> definition(const Scene& s) {
  const int64_t pixels = int64_t{s.height} * s.width;
  std::vector<int> ids(s.batch * pixels, 0);
  for (int image = 0; image < s.batch; ++image) {
    std::vector<float> nearest(pixels, INFINITY);
    for (int t = 0; t < s.triangles; ++t) {
      const float* corner[3];
      bool there = true;
      for (int k = 0; k < 3; ++k) {
        const int v = s.tri[3 * t + k];
        there &= v >= 0 && v < s.vertices;
        corner[k] = s.pos.data() + 4 * (image * s.vertices + (there ? v : 0));
      }
      coverage::Triangle triangle;
      if (!there || !coverage::set_up(corner[0], corner[1], corner[2], triangle))
        continue;
      for (int y = 0; y < s.height; ++y)
        for (int x = 0; x < s.width; ++x) {
          float depth;
          float& best = nearest[int64_t{y} * s.width + x];
          if (!coverage::covers(triangle, coverage::center(x, s.width),
                                coverage::center(y, s.height), depth) ||
              !(depth < best))
            continue;
          best = depth;
          ids[image * pixels + int64_t{y} * s.width + x] = t + 1;
        }
    }
  }
  return ids;
}

static int64_t differing(const Scene& s) {
  const Device device(s);
  device.run(s);
  check(cudaGetLastError(), "launch");
  const std::vector<int> expected = definition(s);
  std::vector<int> ids(expected.size());
  check(cudaMemcpy(ids.data(), device.ids, ids.size() * 4, cudaMemcpyDeviceToHost),
        "ids");
  int64_t count = 0;
  for (size_t i = 0; i < ids.size(); ++i) count += ids[i] != expected[i];
  return count;
}

// Median milliseconds of a call.
static float time_of(const Scene& s) {
  const Device device(s);
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 60; ++i) {
    cudaEventRecord(begin);
    device.run(s);
    cudaEventRecord(end);
    check(cudaEventSynchronize(end), "run");
    float ms;
    cudaEventElapsedTime(&ms, begin, end);
    if (i >= 10) times.push_back(ms);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

int main(int count, char** arguments) {
  const int scenes = count > 1 ? std::atoi(arguments[1]) : 400;
  int64_t pixels = 0;
  for (int i = 0; i < std::abs(scenes); ++i) pixels += differing(random_scene(i));
  std::printf("RESULT {\"scenes\": %d, \"pixels_that_differ\": %lld", std::abs(scenes),
              (long long)pixels);
  if (scenes >= 0) {
    std::printf(", \"ms\": {");
    const char* comma = "";
    for (int rings : {22, 70, 187, 706})
      for (int batch : {1, 8})
        for (int size : {512, 2048}) {
          const Scene s = sphere(rings, batch, size);
          std::printf("%s\"%d triangles, batch %d, %d px\": %.4f", comma, s.triangles,
                      batch, size, time_of(s));
          comma = ", ";
        }
    std::printf("}");
  }
  std::printf("}\n");
  return pixels != 0;
}
