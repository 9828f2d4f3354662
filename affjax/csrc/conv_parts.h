// A sum that several threads compute in parts.
#ifndef AFFJAX_CSRC_CONV_PARTS_H_
#define AFFJAX_CSRC_CONV_PARTS_H_

#include <algorithm>
#include <cstdint>

#include "lease.h"
#include "parallel.h"

namespace affjax {

// Divides `items` terms of a sum of `size` numbers into parts. The division depends on
// sizes alone, so that results are the same for any number of threads.
class Parts {
 public:
  const int64_t count;

  // `least` is the number of items for which a part is worth its memory.
  Parts(int64_t items, int64_t least, int64_t size, float* out)
      : count(
            std::clamp<int64_t>(std::min(items / least, kMostFloats / size), 1, kMost)),
        items_(items),
        size_(size),
        out_(out),
        own_((count - 1) * size) {}

  int64_t begin(int64_t part) const { return items_ * part / count; }
  float* of(int64_t part) const {
    return part == 0 ? out_ : own_.get() + (part - 1) * size_;
  }
  // Adds all parts to the result, in their order.
  void add(xla::ffi::ThreadPool& pool) const {
    if (count == 1) return;
    constexpr int64_t kRun = 4096;
    parallel_for(pool, ceil_div(size_, kRun), [&](int64_t item) {
      const int64_t end = std::min(size_, (item + 1) * kRun);
      for (int64_t part = 1; part < count; ++part) {
        const float* from = of(part);
        for (int64_t i = item * kRun; i < end; ++i) out_[i] += from[i];
      }
    });
  }

 private:
  static constexpr int64_t kMost = 16, kMostFloats = int64_t{1} << 23;
  int64_t items_, size_;
  float* out_;
  Lease own_;
};

}  // namespace affjax

#endif  // AFFJAX_CSRC_CONV_PARTS_H_
