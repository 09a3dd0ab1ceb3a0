// Fibers: every CUDA thread of a block is a fiber of one CPU thread, so that a barrier can stop it.
//
// The sanitizers must be told of every switch.  AddressSanitizer wants the bounds of the stack that
// is entered; ThreadSanitizer wants a name for each fiber, and then treats fibers as threads: two
// accesses are a race unless a barrier, the start or the end of the kernel orders them.
//
// A fiber is made once and then runs its share of block after block.  Without a sanitizer switches
// go through _setjmp and _longjmp, which cost no system call; swapcontext saves the signal mask
// each time, and that is most of what a barrier costs.
#pragma once
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SHIM_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(MINIMASK_COUNT)
#define SHIM_TSAN 1
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* object);
void __tsan_release(void* object);
}
#endif
#if defined(__SANITIZE_THREAD__)
#define SHIM_OWN __attribute__((no_sanitize("thread")))  // the shim's own code is not watched
#else
#define SHIM_OWN
#endif

namespace shim {

constexpr size_t STACK_BYTES = 256 << 10;  // reserved, not touched until used
constexpr unsigned NO_ORDER = 1;           // a switch does not order what two fibers do

struct Index {
  unsigned x, y, z;
};

struct Place {  // where in the source a thread waits
  const char* file;
  int line;
};

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  bool made = false;     // its context, which waits at the start of a block
  bool entered = false;  // it has run: from now on it is left and entered by jumps
  State state = DONE;
  Index thread{};
  int number = 0;  // x fastest, as CUDA counts
  Place place{};
  unsigned mask = 0;  // of the warp call it waits in
  bool vote = false;  // for __syncthreads_count
  char* stack = nullptr;
  void* tsan = nullptr;
  void* asan_stack = nullptr;
};

struct Scheduler {  // the fiber that chooses the next one: the CPU thread itself
  ucontext_t context;
  jmp_buf jump;
  void* tsan = nullptr;
  void* asan_stack = nullptr;
  const void* stack = nullptr;
  size_t stack_bytes = 0;
};
static Scheduler scheduler;
static Fiber* running = nullptr;

#if SHIM_TSAN
SHIM_OWN inline void acquire(void* object) { __tsan_acquire(object); }
SHIM_OWN inline void release(void* object) { __tsan_release(object); }
#else
inline void acquire(void*) {}
inline void release(void*) {}
#endif

#if SHIM_ASAN || SHIM_TSAN
// From the running fiber back to the scheduler; returns when the fiber is resumed.
SHIM_OWN inline void pause() {
  Fiber* fiber = running;
#if SHIM_ASAN
  __sanitizer_start_switch_fiber(&fiber->asan_stack, scheduler.stack, scheduler.stack_bytes);
#endif
#if SHIM_TSAN
  __tsan_switch_to_fiber(scheduler.tsan, NO_ORDER);
#endif
  swapcontext(&fiber->context, &scheduler.context);
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(fiber->asan_stack, &scheduler.stack, &scheduler.stack_bytes);
#endif
}

SHIM_OWN inline void resume(Fiber& fiber) {
  running = &fiber;
#if SHIM_ASAN
  __sanitizer_start_switch_fiber(&scheduler.asan_stack, fiber.stack, STACK_BYTES);
#endif
#if SHIM_TSAN
  __tsan_switch_to_fiber(fiber.tsan, NO_ORDER);
#endif
  swapcontext(&scheduler.context, &fiber.context);
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(scheduler.asan_stack, nullptr, nullptr);
#endif
}
#else
inline void pause() {
  Fiber* fiber = running;
  if (!_setjmp(fiber->jump)) _longjmp(scheduler.jump, 1);
}

inline void resume(Fiber& fiber) {
  running = &fiber;
  if (_setjmp(scheduler.jump)) return;
  if (fiber.entered) _longjmp(fiber.jump, 1);
  fiber.entered = true;
  setcontext(&fiber.context);
}
#endif

// Make the fiber's context if it has none; it keeps its stack, and its name for ThreadSanitizer,
// which takes 0.4 ms to make one.
SHIM_OWN inline void prepare(Fiber& fiber, void (*entry)()) {
  fiber.state = READY;
  if (fiber.made) return;
  if (!fiber.stack)
    fiber.stack = static_cast<char*>(mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
#if SHIM_TSAN
  fiber.tsan = __tsan_create_fiber(0);
#endif
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = STACK_BYTES;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
  fiber.made = true;
  fiber.entered = false;
}

}  // namespace shim
