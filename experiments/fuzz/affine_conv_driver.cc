// Random calls of the affine convolution kernel, compared with the sum spelled out.
//
// Built with address and undefined-behaviour sanitizers by `fuzz_affine_conv.py`. Every
// buffer is as large as it must be and no larger; coordinates are hostile.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "affine_conv.cc"

namespace affjax {
namespace {

std::mt19937_64 rng;
int64_t threads = 1;
std::vector<std::thread> running;

int64_t pick(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(rng);
}
float normal() { return std::normal_distribution<float>()(rng); }

// XLA's thread pool as far as kernels use it.
XLA_FFI_Error* count_threads(XLA_FFI_ThreadPool_NumThreads_Args* args) {
  *args->num_threads = threads;
  return nullptr;
}
XLA_FFI_Error* schedule(XLA_FFI_ThreadPool_Schedule_Args* args) {
  running.emplace_back(args->task, args->data);
  return nullptr;
}

// Returns an extreme coordinate.
float hostile() {
  const float inf = std::numeric_limits<float>::infinity();
  const float choices[] = {0.0f,   1.0f, -1.0f,         0.5f,   1e9f,   -3e9f,
                           1e30f,  -inf, inf,           -1e38f, 2.2e9f, -0.0f,
                           1e-40f, 7.0f, std::nanf(""), -2.0f};
  return choices[pick(0, 15)];
}

float coordinate(int64_t kind) {
  if (kind == 0) return normal();
  if (kind == 1) return float(pick(-3, 3));
  return pick(0, 3) ? 3 * normal() : hostile();
}

// A sum in double precision, and by how much float32 may miss it: a part of the terms'
// magnitude, and what the rounding of the coordinates makes of each term.
struct Sum {
  double value = 0, magnitude = 0, slack = 0;
  void add(double term, double size, double blur) {
    value += term;
    magnitude += size;
    slack += blur;
  }
};

// Returns whether a result is correct to rounding, and prints where it is not.
template <typename T>
bool close(const char* name, T got, const Sum& want) {
  const double value = widen(got);
  if (std::isnan(want.value) && std::isnan(value)) return true;
  const double last = std::is_same_v<T, float> ? 0 : std::fabs(want.value) / 256;
  if (std::fabs(value - want.value) <=
      2e-5 * want.magnitude + want.slack + last + 1e-6) {
    return true;
  }
  std::printf("%s: got %g, expected %g\n", name, value, want.value);
  return false;
}

template <typename T>
std::vector<T> numbers(int64_t count) {
  std::vector<T> values(count);
  for (T& v : values) narrow(normal(), &v);
  return values;
}

template <typename T>
struct Case {
  Problem p;
  std::vector<T> x, kernel, grad;
  std::vector<float> coords, prior;

  Case() {
    const int64_t size = pick(1, 4), stride = pick(1, 3);
    const int64_t height = pick(1, 9), width = pick(1, pick(0, 9) ? 9 : 60);
    p = {pick(0, 3),
         height,
         width,
         pick(1, pick(0, 9) ? 20 : 80),
         ceil_div(height, stride),
         ceil_div(width, stride),
         pick(1, pick(0, 9) ? 20 : 70),
         size,
         stride,
         pick(0, 2) ? Coords::kAffine : Coords::kOffsets,
         false};
    p.prior = p.coords == Coords::kAffine && pick(0, 1);
    x = numbers<T>(p.batch * height * width * p.channels);
    kernel = numbers<T>(p.taps() * p.channels * p.out_channels);
    grad = numbers<T>(p.batch * p.pixels() * p.out_channels);
    const int64_t kind = pick(0, 3);
    coords.resize(p.batch * p.pixels() * p.coordinates());
    for (float& v : coords) v = coordinate(kind);
    prior.resize(p.prior ? p.batch * p.pixels() * 6 : 0);
    for (float& v : prior) v = coordinate(pick(0, 1));
  }

  // Returns the place that a tap reads, or with `positive` the sum of absolute values.
  Point place(int64_t pixel, int64_t tap, bool positive = false) const {
    const auto sign = [&](float v) { return positive ? std::fabs(v) : v; };
    const int64_t inside = pixel % p.pixels();
    const Point center = {float(inside % p.columns * p.stride),
                          float(inside / p.columns * p.stride)};
    const Point d = {sign(p.tap(tap).x), sign(p.tap(tap).y)};
    const float* own = coords.data() + pixel * p.coordinates();
    if (p.offsets()) {
      return place_by_offset({sign(own[2 * tap]), sign(own[2 * tap + 1])}, d, center);
    }
    Affine theta = load_affine(own);
    for (float& v : theta.m) v = sign(v);
    if (p.prior) {
      Affine placing = load_affine(prior.data() + pixel * 6);
      for (float& v : placing.m) v = sign(v);
      theta = compose(placing, theta);
    }
    return place_by_affine(theta, d, center);
  }

  // Rounding error of a place, px: half a unit in the last digit of its largest part
  // for each of eight operations.
  double blur(int64_t pixel, int64_t tap) const {
    const Point at = place(pixel, tap, true);
    const double largest = std::fmax(at.x, at.y);
    return std::isfinite(largest) ? 4 * largest / (1 << 23) : 0;
  }

  // Returns whether rounding may decide on which side of a pixel's center a place lies.
  static bool doubtful(Point at) {
    const float dx = at.x - std::nearbyint(at.x), dy = at.y - std::nearbyint(at.y);
    return std::fabs(dx) < 1e-3f || std::fabs(dy) < 1e-3f;
  }

  bool run(ffi::ThreadPool& pool) const;
};

template <typename T>
bool Case<T>::run(ffi::ThreadPool& pool) const {
  std::vector<T> out(grad.size()), grad_x(x.size()), grad_kernel(kernel.size());
  std::vector<float> grad_coords(coords.size()), grad_prior(prior.size());
  const auto join = [] {
    for (auto& thread : running) thread.join();
    running.clear();
  };
  if (p.batch == 0) return true;
  forward<T>(pool, p, x.data(), coords.data(), prior.data(), kernel.data(), out.data());
  join();
  backward<T>(pool, p, x.data(), coords.data(), prior.data(), kernel.data(),
              grad.data(), grad_x.data(), grad_coords.data(), grad_prior.data(),
              grad_kernel.data());
  join();

  std::vector<Sum> want_x(x.size()), want_kernel(kernel.size());
  bool good = true;
  for (int64_t pixel = 0; pixel < p.batch * p.pixels(); ++pixel) {
    std::vector<Sum> want(p.out_channels);
    Sum want_coords[32], want_matrix[6];
    bool checked = true;
    for (int64_t tap = 0; tap < p.taps(); ++tap) {
      const Point at = place(pixel, tap);
      checked = checked && !doubtful(at);
      const Footprint f = footprint(at, int(p.height), int(p.width));
      float w[4];
      corner_weights(f.fx, f.fy, w);
      double slope[2] = {}, size[2] = {};
      const double blurred = blur(pixel, tap);
      for (int64_t c = 0; c < p.channels; ++c) {
        double corner[4] = {}, sample = f.nan ? std::nan("") : 0.0;
        double grad_sample = 0, grad_size = 0;
        const int64_t entry = (tap * p.channels + c) * p.out_channels;
        for (int64_t o = 0; o < p.out_channels; ++o) {
          const double term = double(widen(grad[pixel * p.out_channels + o])) *
                              widen(kernel[entry + o]);
          grad_sample += term;
          grad_size += std::fabs(term);
        }
        for (int k = 0; k < 4; ++k) {
          if (!(f.corners >> k & 1)) continue;
          const int64_t y = f.row + (k >> 1), column = f.column + (k & 1);
          const int64_t from =
              ((pixel / p.pixels() * p.height + y) * p.width + column) * p.channels + c;
          corner[k] = widen(x[from]);
          sample += w[k] * corner[k];
          want_x[from].add(w[k] * grad_sample, w[k] * grad_size, blurred * grad_size);
        }
        double steep = 0;  // change of the sample per px, at most
        for (double v : corner) steep += 2 * std::fabs(v);
        for (int64_t o = 0; o < p.out_channels; ++o) {
          const double weight = widen(kernel[entry + o]);
          const double own = widen(grad[pixel * p.out_channels + o]);
          want[o].add(sample * weight, std::fabs(sample * weight),
                      blurred * steep * std::fabs(weight));
          want_kernel[entry + o].add(sample * own, std::fabs(sample * own),
                                     blurred * steep * std::fabs(own));
        }
        const double dx =
            (1 - f.fy) * (corner[1] - corner[0]) + f.fy * (corner[3] - corner[2]);
        const double dy =
            (1 - f.fx) * (corner[2] - corner[0]) + f.fx * (corner[3] - corner[1]);
        slope[0] += grad_sample * dx;
        slope[1] += grad_sample * dy;
        for (double& s : size) s += grad_size * steep;
      }
      const Point d = p.tap(tap);
      for (int axis = 0; axis < 2; ++axis) {
        Sum& own = want_coords[2 * tap + axis];
        own = {slope[axis], size[axis], blurred * size[axis]};
        const float by[3] = {d.x, d.y, 1};
        for (int k = 0; k < 3; ++k) {
          want_matrix[3 * axis + k].value += by[k] * slope[axis];
          want_matrix[3 * axis + k].magnitude += size[axis];
          want_matrix[3 * axis + k].slack += blurred * size[axis];
        }
      }
    }
    for (int64_t o = 0; o < p.out_channels; ++o) {
      good = good && close("out", out[pixel * p.out_channels + o], want[o]);
    }
    if (!checked || p.prior) continue;  // with a prior NaN times zero is NaN
    for (int64_t k = 0; k < p.coordinates(); ++k) {
      good = good && close("grad_coords", grad_coords[pixel * p.coordinates() + k],
                           p.offsets() ? want_coords[k] : want_matrix[k]);
    }
  }
  for (size_t i = 0; i < x.size(); ++i)
    good = good && close("grad_x", grad_x[i], want_x[i]);
  for (size_t i = 0; i < kernel.size(); ++i) {
    good = good && close("grad_kernel", grad_kernel[i], want_kernel[i]);
  }
  return good;
}

}  // namespace
}  // namespace affjax

int main(int argc, char** argv) {
  using namespace affjax;
  const int64_t cases = argc > 1 ? std::atoll(argv[1]) : 1000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  XLA_FFI_Api api{};
  api.XLA_FFI_ThreadPool_NumThreads = count_threads;
  api.XLA_FFI_ThreadPool_Schedule = schedule;
  ffi::DiagnosticEngine diagnostic;
  auto pool = *ffi::CtxDecoding<ffi::ThreadPool>::Decode(&api, nullptr, diagnostic);
  int64_t wrong = 0;
  for (int64_t i = 0; i < cases; ++i) {
    rng.seed(seed + i);
    threads = pick(0, 9) ? 1 : pick(2, 5);
    const bool good = pick(0, 3) ? Case<float>().run(pool) : Case<Bf16>().run(pool);
    if (!good && ++wrong <= 10) {
      std::printf("case %lld differs\n", static_cast<long long>(seed + i));
    }
  }
  std::printf("%lld cases, %lld differ\n", static_cast<long long>(cases),
              static_cast<long long>(wrong));
  return wrong != 0;
}
