// Fibers for cuda_host.h: a stack of one's own, and switching to and from it.
// On x86-64 by hand (ucontext makes a system call per switch), elsewhere by ucontext.
#pragma once

#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
constexpr size_t cuda_host_stack_bytes = 512 << 10;
#else
constexpr size_t cuda_host_stack_bytes = 128 << 10;
#endif

#ifdef __x86_64__
extern "C" void cuda_host_switch(void** save, void* resume);
asm(R"(
.text
.weak cuda_host_switch
.hidden cuda_host_switch
cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

namespace cuda_host {

class Fiber {
 public:
  // Prepares `entry` to run from its beginning at the next `enter`.
  void start(void (*entry)()) {
    if (!stack_) stack_ = take_stack();
    entry_ = entry;
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(stack_, cuda_host_stack_bytes);
#endif
#ifdef __x86_64__
    void** top = reinterpret_cast<void**>(stack_ + cuda_host_stack_bytes);
    top[-2] = reinterpret_cast<void*>(&first);  // returned to by the switch
    inside_ = top - 8;                          // below it six registers
#else
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_;
    inside_.uc_stack.ss_size = cuda_host_stack_bytes;
    inside_.uc_link = nullptr;
    makecontext(&inside_, &first, 0);
#endif
  }

  // Runs until the fiber leaves or its entry returns.
  void enter() {
    running() = this;
    before_switch(stack_);
    swap(outside_, inside_);
    after_switch();
  }

  // Back to who entered.
  void leave() {
    before_switch(nullptr);
    swap(inside_, outside_);
    after_switch();
  }

  Fiber() = default;
  Fiber(Fiber&& other) noexcept { std::swap(stack_, other.stack_); }
  ~Fiber() {
    if (stack_) spare().push_back(stack_);
  }

 private:
#ifdef __x86_64__
  using Context = void*;
  static void swap(Context& save, Context& resume) { cuda_host_switch(&save, resume); }
#else
  using Context = ucontext_t;
  static void swap(Context& save, Context& resume) { swapcontext(&save, &resume); }
#endif

  static Fiber*& running() {
    static Fiber* fiber;
    return fiber;
  }

  static void first() {
    after_switch();
    Fiber* me = running();
    me->entry_();
    me->leave();
    std::abort();  // a finished fiber is never entered again
  }

  // Stacks outlive their block: a thousand mappings a launch would be slow.
  static std::vector<unsigned char*>& spare() {
    // Never destroyed: the last block ends after what this function could hold.
    static auto& stacks = *new std::vector<unsigned char*>;
    return stacks;
  }

  static unsigned char* take_stack() {
    if (!spare().empty()) {
      unsigned char* stack = spare().back();
      spare().pop_back();
      return stack;
    }
    void* memory = mmap(nullptr, cuda_host_stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::fprintf(stderr, "cuda_host: no memory for the stack of a thread\n");
      std::abort();
    }
    return static_cast<unsigned char*>(memory);
  }

  // Tells the address sanitizer which stack is in use.
#ifdef __SANITIZE_ADDRESS__
  static void before_switch(unsigned char* stack) {
    if (stack) {
      __sanitizer_start_switch_fiber(nullptr, stack, cuda_host_stack_bytes);
    } else {
      __sanitizer_start_switch_fiber(nullptr, home_bottom(), home_size());
    }
  }
  static void after_switch() {
    const void* bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    // Coming from outside into a fiber, the old stack is the OS thread's.
    if (size != cuda_host_stack_bytes) {
      home_bottom() = bottom;
      home_size() = size;
    }
  }
  static const void*& home_bottom() {
    static const void* bottom;
    return bottom;
  }
  static size_t& home_size() {
    static size_t size;
    return size;
  }
#else
  static void before_switch(unsigned char*) {}
  static void after_switch() {}
#endif

  unsigned char* stack_ = nullptr;
  void (*entry_)() = nullptr;
  Context inside_{}, outside_{};
};

}  // namespace cuda_host
