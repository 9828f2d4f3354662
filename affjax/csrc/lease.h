// Memory that calls lend to each other.
#ifndef AFFJAX_CSRC_LEASE_H_
#define AFFJAX_CSRC_LEASE_H_

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "matmul.h"

namespace affjax {

// Uninitialized memory for one call, which a later call may get. Its pages are touched
// once: fresh pages would cost more than some convolutions.
class Lease {
 public:
  explicit Lease(int64_t count) {
    if (count == 0) return;
    {
      std::lock_guard<std::mutex> lock(mutex());
      if (!kept().empty()) {
        block_ = std::move(kept().back());
        kept().pop_back();
      }
    }
    if (block_.size < count) block_ = {Buffer<float>(count), count};
  }
  ~Lease() {
    if (block_.size == 0) return;
    std::lock_guard<std::mutex> lock(mutex());
    kept().push_back(std::move(block_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  float* get() const { return block_.data.get(); }

 private:
  struct Block {
    Buffer<float> data;
    int64_t size = 0;
  };
  static std::mutex& mutex() {
    static std::mutex only;
    return only;
  }
  static std::vector<Block>& kept() {
    static std::vector<Block> only;
    return only;
  }
  Block block_;
};

}  // namespace affjax

#endif  // AFFJAX_CSRC_LEASE_H_
