// Bilinear samples of pixels in float32 or bfloat16, for affine convolution on CPUs.
#ifndef AFFJAX_CSRC_AFFINE_SAMPLING_H_
#define AFFJAX_CSRC_AFFINE_SAMPLING_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "affine_footprint.h"
#include "matmul.h"

namespace affjax {

// A bfloat16 number: the upper half of a float32.
struct Bf16 {
  uint16_t bits;
};

inline Vec load(const Bf16* from) {
  typedef uint16_t Half __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
  typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
  const Bits bits = __builtin_convertvector(*reinterpret_cast<const Half*>(from), Bits)
                    << 16;
  Vec value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float widen(float value) { return value; }
inline float widen(Bf16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void narrow(float value, float* to) { *to = value; }
inline void narrow(float value, Bf16* to) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  // Rounds to nearest, ties to even; NaN stays NaN.
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  to->bits = uint16_t(value != value ? bits >> 16 | 0x40 : rounded);
}

template <typename T>
void widen_row(const T* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = widen(from[i]);
}

template <typename T>
void narrow_row(const float* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) narrow(from[i], to + i);
}

// A row of zeros that is read outside the image, and a row that receives the gradients
// there.
struct Outside {
  Buffer<float> zeros, waste;
  explicit Outside(int64_t channels) : zeros(channels), waste(channels) {
    std::memset(zeros.get(), 0, channels * sizeof(float));
    std::memset(waste.get(), 0, channels * sizeof(float));
  }
};

template <typename T>
struct Corners {
  const T* at[4];
  float weight[4];

  Corners(const TapFootprint& f, int64_t pixel, const T* image, int64_t channels,
          const Outside& outside) {
    for (int c = 0; c < 4; ++c) {
      const int64_t corner = f.corner[c][pixel];
      at[c] = corner < 0 ? reinterpret_cast<const T*>(outside.zeros.get())
                         : image + corner * channels;
      weight[c] = f.weight[c][pixel];
    }
  }
};

// Number of pixels between the prefetch of memory and its use.
constexpr int64_t kAhead = 4;

template <typename T>
inline void prefetch(const TapFootprint& f, int64_t pixel, const T* image,
                     int64_t stride, int64_t channels) {
  for (int c = 1; c < 4; c += 2) {
    const int64_t corner = f.corner[c][pixel];
    if (corner < 0) continue;
    const char* from = reinterpret_cast<const char*>(image + corner * stride);
    for (size_t i = 0; i < channels * sizeof(T); i += 64) __builtin_prefetch(from + i);
  }
}

template <typename T>
inline void sample(const Corners<T>& k, int64_t channels, float* out) {
  int64_t i = 0;
  const Vec w[4] = {all(k.weight[0]), all(k.weight[1]), all(k.weight[2]),
                    all(k.weight[3])};
  for (; i + kLanes <= channels; i += kLanes) {
    store(out + i, w[0] * load(k.at[0] + i) + w[1] * load(k.at[1] + i) +
                       (w[2] * load(k.at[2] + i) + w[3] * load(k.at[3] + i)));
  }
  for (; i < channels; ++i) {
    out[i] = k.weight[0] * widen(k.at[0][i]) + k.weight[1] * widen(k.at[1][i]) +
             (k.weight[2] * widen(k.at[2][i]) + k.weight[3] * widen(k.at[3][i]));
  }
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_SAMPLING_H_
