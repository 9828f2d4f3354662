// PTX instructions as functions, after the PTX ISA's manual; `ptx_as_cpp.py` calls
// them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace ptx {

// A byte ('b') or half word ('h') of a register, or all of it (0).
inline int64_t part(uint32_t value, char size, int index, bool is_signed) {
  int bits = size == 'b' ? 8 : size == 'h' ? 16 : 32;
  uint32_t low = value >> (index * bits) & (0xffffffffu >> (32 - bits));
  if (!is_signed) return low;
  return static_cast<int32_t>(low << (32 - bits)) >> (32 - bits);
}

// vadd, vsub, vmax, vmin, vmad: `first` of a and b; saturated to the destination; then
// put into byte `byte` of c, or `second` (0: none) of it and c.
inline uint32_t video(char first, int64_t a, int64_t b, bool is_signed, bool saturate,
                      int byte, char second, uint32_t c) {
  auto apply = [](char op, int64_t x, int64_t y) {
    switch (op) {
      case '+':
        return x + y;
      case '-':
        return x - y;
      case '*':
        return x * y;
      case '>':
        return x > y ? x : y;
      default:
        return x < y ? x : y;
    }
  };
  int64_t out = apply(first, a, b), most = byte < 0 ? 0xffffffffll : 255;
  if (saturate) out = out < 0 ? 0 : out > most ? most : out;
  if (byte >= 0) {
    uint32_t mask = 0xffu << (8 * byte);
    return (c & ~mask) | (static_cast<uint32_t>(out) << (8 * byte) & mask);
  }
  if (second) out = apply(second, out, part(c, 0, 0, is_signed));
  return static_cast<uint32_t>(out);
}

inline uint32_t lanemask(const char* which) {
  uint32_t lane = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  uint32_t own = 1u << (lane % 32), below = own - 1;
  uint32_t upto = which[0] == 'l' ? below : ~(below | own);
  return which[1] == 'e' ? upto | own : upto;
}

inline uint32_t bfind(uint32_t v) { return v ? 31 - __builtin_clz(v) : ~0u; }
inline int64_t cvt(double v, double low, double high) {
  return std::isnan(v) ? 0 : static_cast<int64_t>(std::fmin(std::fmax(v, low), high));
}
inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t select) {
  uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i, select >>= 4) {
    uint32_t byte = bytes >> (select % 8 * 8) & 255;
    if (select & 8) byte = byte & 128 ? 255 : 0;
    out |= byte << (8 * i);
  }
  return out;
}
// The upper half of the bits only.
inline double rcp(double v) {
  double out = 1 / v;
  uint64_t bits;
  std::memcpy(&bits, &out, 8);
  bits &= ~0xffffffffull;
  std::memcpy(&out, &bits, 8);
  return out;
}
// Towards minus infinity, from a sum whose own rounding is 2^29 times finer.
inline float fma_down(float a, float b, float c) {
  double exact = double{a} * b + c;
  float out = static_cast<float>(exact);
  return out > exact ? std::nextafterf(out, -INFINITY) : out;
}

}  // namespace ptx

template <typename To, typename From>
To other_type(From value) {
  To out;
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&out, &value, sizeof(out));
  return out;
}
inline double __longlong_as_double(int64_t v) { return other_type<double>(v); }
inline int64_t __double_as_longlong(double v) { return other_type<int64_t>(v); }
inline int __double2hiint(double v) { return __double_as_longlong(v) >> 32; }
inline int __double2loint(double v) { return __double_as_longlong(v); }
inline double __hiloint2double(int high, int low) {
  return __longlong_as_double(int64_t{high} << 32 | static_cast<uint32_t>(low));
}
