// Work divided among XLA's threads.
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

// Threads that `parallel_for` may use: the pool's. The caller takes part as well, but
// then waits, as XLA calls a handler from a thread of the pool.
inline int64_t thread_count(const xla::ffi::ThreadPool& pool) {
  const int64_t threads = pool.num_threads();
  return threads < 1 ? 1 : threads;
}

// Calls `f(item)` once for every item of [0, items) and returns when all are done.
//
// The caller works too and never waits for a task that has not begun: a pool whose
// threads are all busy (or are all inside this function) slows it down and cannot block
// it. Which thread takes an item is left to chance, so that for results that do not
// depend on it an item must not either.
template <typename F>
void parallel_for(xla::ffi::ThreadPool& pool, int64_t items, const F& f) {
  const int64_t helpers = std::min(thread_count(pool), items) - 1;
  if (helpers < 1) {
    for (int64_t item = 0; item < items; ++item) f(item);
    return;
  }
  // Outlives this call: a task may begin when everything is done.
  struct State {
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable finished;
  };
  auto state = std::make_shared<State>();
  // `f` is used only for an item that is not done yet, hence only during this call.
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
