// Vectors of sixteen floats, in the vector extensions of g++ and clang++.
//
// The compilers lower them to one register of AVX-512, two of AVX, or four of SSE or
// NEON.
#ifndef AFFJAX_CSRC_RASTER_LANES_H_
#define AFFJAX_CSRC_RASTER_LANES_H_

#include <stdint.h>
#include <string.h>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace affjax::lanes {

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
// Results of comparisons: -1 where true, 0 where false.
typedef int32_t Ints __attribute__((vector_size(64)));

inline Floats fill(float v) { return Floats{} + v; }

inline Ints fill(int32_t v) { return Ints{} + v; }

inline Floats magnitude(Floats v) {
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(v) & fill(0x7fffffff));
}

inline Floats select(Ints where, Floats yes, Floats no) { return where ? yes : no; }

inline Ints select(Ints where, Ints yes, Ints no) { return where ? yes : no; }

// Returns an integer whose bit k says whether lane k is true.
inline uint32_t bits(Ints v) {
#if defined(__AVX512DQ__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(v));
#elif defined(__AVX__)
  __m256 half[2];
  memcpy(half, &v, sizeof v);
  return _mm256_movemask_ps(half[0]) | _mm256_movemask_ps(half[1]) << 8;
#else
  uint32_t found = 0;
  for (int k = 0; k < kLanes; ++k) found |= (v[k] & 1u) << k;
  return found;
#endif
}

inline Floats load(const float* from) {
  Floats v;
  memcpy(&v, from, sizeof v);
  return v;
}

inline Ints load(const int32_t* from) {
  Ints v;
  memcpy(&v, from, sizeof v);
  return v;
}

template <typename T, typename V>
inline void store(T* to, V v) {
  memcpy(to, &v, sizeof v);
}

}  // namespace affjax::lanes

#endif  // AFFJAX_CSRC_RASTER_LANES_H_
