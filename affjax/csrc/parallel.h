// A parallel loop on XLA's threads.
#ifndef AFFJAX_CSRC_PARALLEL_H_
#define AFFJAX_CSRC_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace affjax {

// Returns the number of threads that `parallel_for` may use, which is the pool's. The
// caller works too, but it is a thread of the pool itself.
inline int64_t thread_count(const xla::ffi::ThreadPool& pool) {
  const int64_t threads = pool.num_threads();
  return threads < 1 ? 1 : threads;
}

// Calls `f(item)` once for every item of [0, items) and returns when all are done.
//
// The caller works too and never waits for a task that has not begun: a pool whose
// threads are all busy (or are all inside this function) slows it down and cannot block
// it. Which thread takes an item varies from call to call, so the result of an item
// must not depend on it.
template <typename F>
void parallel_for(xla::ffi::ThreadPool& pool, int64_t items, const F& f) {
  const int64_t helpers = std::min(thread_count(pool), items) - 1;
  if (helpers < 1) {
    for (int64_t item = 0; item < items; ++item) f(item);
    return;
  }
  // The state outlives this call, because a task may begin after everything is done.
  struct State {
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable finished;
  };
  auto state = std::make_shared<State>();
  // `f` is called only for an item that is not done yet, hence only during this call.
  auto work = [state, items, &f] {
    for (int64_t item; (item = state->next.fetch_add(1)) < items;) {
      f(item);
      if (state->done.fetch_add(1) + 1 == items) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->finished.notify_all();
      }
    }
  };
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->finished.wait(lock, [&] { return state->done.load() == items; });
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_PARALLEL_H_
