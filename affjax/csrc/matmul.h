// A matrix product for tiles that fit in cache.
//
// The source uses the compilers' vector types, which become AVX-512, AVX2, SSE or NEON
// code, or scalar code on processors without these.
#ifndef AFFJAX_CSRC_MATMUL_H_
#define AFFJAX_CSRC_MATMUL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace affjax {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kBlockRows = 14;  // 28 of 32 registers hold sums
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kBlockRows = 6;  // 12 of 16
#elif defined(__ARM_NEON)
constexpr int kLanes = 4;
constexpr int kBlockRows = 12;  // 24 of 32
#else
constexpr int kLanes = 4;
constexpr int kBlockRows = 6;
#endif
constexpr int kPanel = 2 * kLanes;  // number of columns of a block of sums

typedef float Vec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t VecInt __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const Vec*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<Vec*>(to) = value; }
// Subtracting zero changes no number, not even -0, so this compiles to a broadcast
// alone.
inline Vec all(float value) { return value - Vec{}; }

inline int64_t round_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}
inline int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

// Uninitialized memory aligned to cache lines. The constructor throws std::bad_alloc.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) {
    const size_t bytes = round_up(std::max<int64_t>(count, 1) * sizeof(T), 64);
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
  }
  T* get() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

// Returns memory for the work on one tile. The thread keeps it for its next tile,
// because releasing and touching it again costs as much as the work.
template <typename T, int kPurpose>
T* scratch(int64_t count) {
  static thread_local Buffer<T> kept;
  static thread_local int64_t size = 0;
  if (count > size) {
    kept = Buffer<T>(count);
    size = count;
  }
  return kept.get();
}

// The left factor, with entry (r, k) at data[r * row + k * step]; either stride may be
// 1.
struct Left {
  const float* data;
  ptrdiff_t row, step;
};

// The right factor in panels of kPanel columns, with entry (k, column c of panel p) at
// data[p * panel + k * step + c]. Whole vectors of columns are read.
struct Right {
  const float* data;
  ptrdiff_t panel, step;
};

// The number of products in a sum: `outer` runs of `inner` consecutive ones, between
// whose beginnings the factors advance by `left` and `right`.
struct Depth {
  int64_t inner, outer = 1;
  ptrdiff_t left = 0, right = 0;

  Depth(int64_t inner) : inner(inner) {}
  Depth(int64_t inner, int64_t outer, ptrdiff_t left, ptrdiff_t right)
      : inner(inner), outer(outer), left(left), right(right) {}
  bool empty() const { return inner < 1 || outer < 1; }
};

using Block = void (*)(Left, const float*, ptrdiff_t, float*, ptrdiff_t, Depth, bool);

// Computes rows x (vectors * kLanes) sums of products in registers.
template <int kRows, int kVectors>
void multiply_block(Left a, const float* b, ptrdiff_t step, float* c, ptrdiff_t c_row,
                    Depth depth, bool add) {
  Vec sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = add ? load(c + r * c_row + v * kLanes) : Vec{};
  // Loops that run at least once let compilers keep the sums in registers between runs.
  if (!depth.empty()) {
    int64_t run = depth.outer;
    do {
      const float *left_at = a.data, *right_at = b;
      int64_t k = depth.inner;
      do {
        Vec right[kVectors];
        for (int v = 0; v < kVectors; ++v) right[v] = load(right_at + v * kLanes);
        for (int r = 0; r < kRows; ++r) {
          const Vec left = all(left_at[r * a.row]);
          for (int v = 0; v < kVectors; ++v) sums[r][v] += left * right[v];
        }
        left_at += a.step;
        right_at += step;
      } while (--k);
      a.data += depth.left;
      b += depth.right;
    } while (--run);
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store(c + r * c_row + v * kLanes, sums[r][v]);
}

template <int kVectors, int... kRows>
constexpr auto block_table(std::integer_sequence<int, kRows...>) {
  return std::array<Block, sizeof...(kRows)>{multiply_block<kRows + 1, kVectors>...};
}

// Computes c [rows, columns] = a [rows, depth] . b [depth, columns], or c += a . b with
// `add`. Columns are computed in whole vectors, for which the rows of c must have room.
inline void multiply(Left a, Right b, float* c, ptrdiff_t c_row, int64_t rows,
                     int64_t columns, Depth depth, bool add) {
  // A single vector of columns leaves registers for twice as many rows.
  static constexpr auto kWide =
      block_table<2>(std::make_integer_sequence<int, kBlockRows>());
  static constexpr auto kNarrow =
      block_table<1>(std::make_integer_sequence<int, 2 * kBlockRows>());
  if (rows < 1) return;
  const int64_t vectors = ceil_div(columns, kLanes);
  for (int64_t v = 0; v < vectors; v += 2) {
    const float* panel = b.data + v / 2 * b.panel;
    const bool wide = vectors - v > 1;
    const int64_t blocks = ceil_div(rows, wide ? kBlockRows : 2 * kBlockRows);
    const int64_t least = rows / blocks, longer = rows % blocks;
    int64_t row = 0;
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t next = row + least + (i < longer);
      const Block block = (wide ? kWide.data() : kNarrow.data())[next - row - 1];
      block({a.data + row * a.row, a.row, a.step}, panel, b.step,
            c + row * c_row + v * kLanes, c_row, depth, add);
      row = next;
    }
  }
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_MATMUL_H_
