// Runs CUDA device code on the CPU: every thread of a block is a fiber, one block after
// another, all on one OS thread, hence deterministic. For tests: no speed, but the same
// source, barriers, shuffles, shared memory and launch arithmetic as on a GPU.
//
// Use: compile with -DAFFJAX_ON_HOST, include this before the device code, then call
//   cuda_host::launch(kernel, grid, block, shared_bytes, arguments...);
// then cudaGetLastError(), which also reports deadlocks, bad launch configurations and
// dynamic shared memory that was not asked for by cudaFuncSetAttribute.
//
// Differences from a GPU, which device code must respect:
// - Dynamic shared memory: CUDA_HOST_DYNAMIC_SHARED(p) declares `unsigned char* p`
//   (device code hides it in a macro of its own beside `extern __shared__`). It starts
//   as NaN bytes in every block; static __shared__ keeps the block before's values.
// - Threads switch at barriers, shuffles and votes only: spinning on memory hangs.
// - A race shows as a result that depends on cuda_host::order (0 ascending thread ids,
//   1 descending, more: shuffled with that seed): run under several, compare the bits.
// - Float atomics add in the order in which the threads run.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "cuda_host_fiber.h"

#define __device__
#define __global__
#define __host__
#define __constant__ const
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
#define CUDA_HOST_DYNAMIC_SHARED(name) \
  unsigned char* const name = cuda_host::block.shared

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

using cudaStream_t = void*;
using cudaError_t = int;
constexpr int cudaSuccess = 0, cudaErrorInvalidValue = 1;
constexpr int cudaErrorMemoryAllocation = 2, cudaErrorLaunchFailure = 719;
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

namespace cuda_host {

inline int order = 0;           // order of a block's threads, see above
inline const char* error = "";  // why the last launch failed, in words
inline cudaError_t status = cudaSuccess;
inline std::map<const void*, size_t> shared_limit;  // by kernel, if not 48 KiB

enum class State { ready, at_block, at_warp, done };

struct Copy {  // one cp.async
  void* to;
  const void* from;
  int bytes, read;  // the rest is filled with zeros
};

struct Thread {
  Fiber fiber;
  State state;
  unsigned mask;  // mask of the warp barrier at which it waits
  alignas(16) unsigned char slot[64];
  std::deque<std::vector<Copy>> groups;  // committed copies not waited for
  std::vector<Copy> copies;              // not yet committed
};

struct Block {
  std::vector<Thread> threads;
  unsigned char* shared = nullptr;
  int current = 0, alive = 0, arrived = 0;
  int votes_any = 0, votes_all = 1, votes_count = 0;
};
inline Block block;
inline void (*body)(void*);
inline void* body_argument;

inline Thread& self() { return block.threads[block.current]; }
inline int lane() { return block.current % 32; }
inline Thread& peer(int other_lane) {
  return block.threads[block.current / 32 * 32 + other_lane];
}

inline void wait(State state) {
  Thread& me = self();
  me.state = state;
  me.fiber.leave();
}

inline void release_block_barrier() {
  block.arrived = 0;
  for (Thread& t : block.threads)
    if (t.state == State::at_block) t.state = State::ready;
}

inline void block_barrier() {
  if (++block.arrived == block.alive) return release_block_barrier();
  wait(State::at_block);
}

// Returns when all lanes of `mask` have come with the same mask.
inline void warp_barrier(unsigned mask) {
  Thread& me = self();
  me.mask = mask;
  me.state = State::at_warp;
  const int first = block.current / 32 * 32, threads = int(block.threads.size());
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    if (first + i >= threads) continue;  // a last, partial warp under a full mask
    const Thread& t = block.threads[first + i];
    if (t.state != State::at_warp || t.mask != mask) return me.fiber.leave();
  }
  for (int i = 0; i < 32 && first + i < threads; ++i)
    if (mask >> i & 1) block.threads[first + i].state = State::ready;
}

// Lays `value` open to the warp while `read(lane's value)...` is computed.
template <class T, class F>
auto exchange(unsigned mask, const T& value, F read) {
  static_assert(sizeof(T) <= sizeof(Thread::slot), "slot too small");
  std::memcpy(self().slot, &value, sizeof(T));
  warp_barrier(mask);
  auto result = read([&](int other_lane) {
    T v;
    std::memcpy(&v, peer(other_lane).slot, sizeof(T));
    return v;
  });
  warp_barrier(mask);
  return result;
}

inline void fail(const char* why) {
  error = why;
  status = cudaErrorLaunchFailure;
}

inline void thread_main() {
  body(body_argument);
  self().state = State::done;
  if (--block.alive == block.arrived && block.arrived) release_block_barrier();
}

inline bool run_block(const std::vector<int>& turns) {
  const int threads = int(block.threads.size());
  block.alive = threads;
  block.arrived = 0;
  for (Thread& t : block.threads) {
    t.state = State::ready;
    t.groups.clear();
    t.copies.clear();
    t.fiber.start(thread_main);
  }
  for (bool moved = true; block.alive; moved = false) {
    for (int t : turns) {
      if (block.threads[t].state != State::ready) continue;
      moved = true;
      block.current = t;
      threadIdx.x = t % blockDim.x;
      threadIdx.y = t / blockDim.x % blockDim.y;
      threadIdx.z = t / (blockDim.x * blockDim.y);
      block.threads[t].fiber.enter();
    }
    if (!moved) return false;
  }
  return true;
}

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 size, size_t shared, A&&... given) {
  const size_t threads = size_t(size.x) * size.y * size.z;
  const auto limit = shared_limit.find((const void*)kernel);
  if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || !threads ||
      threads > 1024 || shared > 232448)
    return fail("grid, block or shared memory out of the limits");
  if (shared > (limit == shared_limit.end() ? 49152 : limit->second))
    return fail("more dynamic shared memory than cudaFuncSetAttribute allowed");
  auto call = [&] { kernel(P(given)...); };
  body = [](void* f) { (*static_cast<decltype(call)*>(f))(); };
  body_argument = &call;
  gridDim = grid;
  blockDim = size;
  block.threads = std::vector<Thread>(threads);
  std::vector<int> turns(threads);
  for (size_t i = 0; i < threads; ++i) turns[i] = int(order == 1 ? threads - 1 - i : i);
  std::mt19937 random(order);
  for (size_t i = threads; order > 1 && i > 1; --i)
    std::swap(turns[i - 1], turns[random() % i]);
  // The exact size lets the address sanitizer find accesses past the end.
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, shared + !shared)) return fail("out of memory");
  block.shared = static_cast<unsigned char*>(memory);
  bool alive = true;
  for (unsigned z = 0; alive && z < grid.z; ++z)
    for (unsigned y = 0; alive && y < grid.y; ++y)
      for (unsigned x = 0; alive && x < grid.x; ++x) {
        blockIdx = {x, y, z};
        std::memset(block.shared, 0xff, shared);
        alive = run_block(turns);
      }
  std::free(block.shared);
  if (!alive) fail("deadlock: threads wait at a barrier that others never reach");
}

}  // namespace cuda_host

#include "cuda_host_intrinsics.h"
