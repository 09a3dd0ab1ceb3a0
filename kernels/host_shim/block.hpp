// One block: its threads run until each waits or is done; barriers open when all have arrived.
//
// Blocks run one after another.  Shared memory is filled with 0xFF, a NaN, before each block, so
// that reading what nobody has written shows.  The order of threads and blocks is drawn by a seed.
#pragma once
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "fibers.hpp"

extern "C" char __start_minimask_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_minimask_shared[] __attribute__((weak, visibility("hidden")));

namespace shim {

using u64 = unsigned long long;
constexpr int WARP = 32;
constexpr int MOST_WARPS = 32;
constexpr int MOST_WORDS = 8;
enum Failure { FINE, DEADLOCK, DIVERGED, TOO_LARGE };

struct Block {
  std::vector<Fiber> fibers;
  Index index{}, threads{}, grid{};
  int count = 0;                 // threads of a block
  std::vector<char> dynamic;     // shared memory whose size the launch decides
  u64 slot[MOST_WARPS][WARP];    // what the lanes of a warp exchange
  unsigned words[MOST_WARPS][WARP][MOST_WORDS];  // the same, of whole matrices
  // What ThreadSanitizer sees of a barrier.  Two take turns: with one, a thread that runs ahead to
  // the next barrier would be ordered before a thread that has not yet left this one.
  char barrier[2], warp_barrier[MOST_WARPS][2], start, finish;
  unsigned generation = 0, warp_generation[MOST_WARPS] = {};
  void (*body)() = nullptr;
  char error[512];
};
static Block block;

SHIM_OWN inline Place name_only(Place place) {
  const char* slash = strrchr(place.file, '/');
  return {slash ? slash + 1 : place.file, place.line};
}

SHIM_OWN inline void wait_for_block(Place place) {
  const int turn = block.generation & 1;
  running->state = AT_BARRIER;
  running->place = place;
  release(&block.barrier[turn]);
  pause();
  acquire(&block.barrier[turn]);
}

SHIM_OWN inline int count_votes(bool vote, Place place) {
  running->vote = vote;
  wait_for_block(place);
  int votes = 0;
  for (int i = 0; i < block.count; ++i)
    if (block.fibers[i].state != DONE) votes += block.fibers[i].vote;
  wait_for_block(place);
  return votes;
}

// __syncwarp orders what the lanes read and write in memory.  Exchanges and votes do not: their lanes
// wait for each other, and that is all CUDA promises.
SHIM_OWN inline void wait_for_warp(unsigned mask, Place place, bool orders = false) {
  const int warp = running->number / WARP;
  const int turn = block.warp_generation[warp] & 1;
  running->state = AT_WARP;
  running->mask = mask;
  running->place = place;
  if (orders) release(&block.warp_barrier[warp][turn]);
  pause();
  if (orders) acquire(&block.warp_barrier[warp][turn]);
}

// Publish, wait, read, wait: what the lanes of a warp do in one instruction.
template <class T>
SHIM_OWN T exchange(unsigned mask, T value, int source, Place place) {
  static_assert(sizeof(T) <= sizeof(u64), "warp exchanges move at most 8 bytes");
  const int warp = running->number / WARP, lane = running->number % WARP;
  u64 raw = 0;
  memcpy(&raw, &value, sizeof value);
  block.slot[warp][lane] = raw;
  wait_for_warp(mask, place);
  raw = block.slot[warp][source & (WARP - 1)];
  wait_for_warp(mask, place);
  memcpy(&value, &raw, sizeof value);
  return value;
}

// Every lane of the warp sees the words of all 32: what instructions on matrices do.
template <int WORDS>
SHIM_OWN void lay_open(unsigned mask, const unsigned (&mine)[WORDS], unsigned (&all)[WARP][WORDS],
                       Place place) {
  static_assert(WORDS <= MOST_WORDS);
  const int warp = running->number / WARP, lane = running->number % WARP;
  for (int i = 0; i < WORDS; ++i) block.words[warp][lane][i] = mine[i];
  wait_for_warp(mask, place);
  for (int other = 0; other < WARP; ++other)
    for (int i = 0; i < WORDS; ++i) all[other][i] = block.words[warp][other][i];
  wait_for_warp(mask, place);
}

SHIM_OWN inline unsigned ballot(unsigned mask, bool vote, Place place) {
  const int warp = running->number / WARP, lane = running->number % WARP;
  block.slot[warp][lane] = vote;
  wait_for_warp(mask, place);
  unsigned bits = 0;
  for (int i = 0; i < WARP && warp * WARP + i < block.count; ++i)
    if (mask >> i & 1 && block.fibers[warp * WARP + i].state != DONE && block.slot[warp][i])
      bits |= 1u << i;
  wait_for_warp(mask, place);
  return bits;
}

SHIM_OWN inline void entry() {
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.stack_bytes);
#endif
  for (;;) {
    acquire(&block.start);
    block.body();
    running->state = DONE;
    release(&block.finish);
    pause();
  }
}

SHIM_OWN inline void prepare_block() {
  if (__start_minimask_shared)
    memset(__start_minimask_shared, 0xFF, __stop_minimask_shared - __start_minimask_shared);
  std::fill(block.dynamic.begin(), block.dynamic.end(), char(0xFF));
  block.fibers.reserve(MOST_WARPS * WARP);  // a context must not move: it points into itself
  if (static_cast<int>(block.fibers.size()) < block.count) block.fibers.resize(block.count);
  for (int i = 0; i < block.count; ++i) {
    const int x = block.threads.x, y = block.threads.y;
    block.fibers[i].number = i;
    block.fibers[i].thread = {unsigned(i % x), unsigned(i / x % y), unsigned(i / (x * y))};
    prepare(block.fibers[i], entry);
  }
}

// Let the warp calls go on for which every live lane of the mask has arrived.
SHIM_OWN inline bool open_warp_barriers() {
  bool opened = false;
  for (int warp = 0; warp * WARP < block.count; ++warp) {
    unsigned arrived = 0, alive = 0, wanted = 0;
    const int lanes = std::min(WARP, block.count - warp * WARP);
    for (int lane = 0; lane < lanes; ++lane) {
      const Fiber& fiber = block.fibers[warp * WARP + lane];
      if (fiber.state != DONE) alive |= 1u << lane;
      if (fiber.state == AT_WARP) arrived |= 1u << lane, wanted |= fiber.mask;
    }
    if (!arrived || (wanted & alive & ~arrived)) continue;
    ++block.warp_generation[warp];
    for (int lane = 0; lane < lanes; ++lane)
      if (arrived >> lane & 1) block.fibers[warp * WARP + lane].state = READY;
    opened = true;
  }
  return opened;
}

SHIM_OWN inline Failure fail(Failure failure, Place a, Place b, int waiting, int live) {
  for (Fiber& fiber : block.fibers) fiber.made = false;  // they stand in the middle of the kernel
  if (a.file) a = name_only(a);
  if (b.file) b = name_only(b);
  const Index i = block.index;
  if (failure == DIVERGED)
    snprintf(block.error, sizeof block.error,
             "block (%u, %u, %u): threads of one block wait at different __syncthreads, "
             "%s:%d and %s:%d", i.x, i.y, i.z, a.file, a.line, b.file, b.line);
  else
    snprintf(block.error, sizeof block.error,
             "block (%u, %u, %u): deadlock, %d of %d live threads wait at %s:%d and the others "
             "never arrive", i.x, i.y, i.z, waiting, live, a.file, a.line);
  return failure;
}

// Open the block's barrier when all live threads wait at it.
SHIM_OWN inline Failure open_barrier(bool anyone_ran, int* live) {
  int waiting = 0;
  Place first{nullptr, 0}, other{nullptr, 0}, stuck{nullptr, 0};
  *live = 0;
  for (int i = 0; i < block.count; ++i) {
    const Fiber& fiber = block.fibers[i];
    if (fiber.state == DONE) continue;
    ++*live;
    stuck = fiber.place;
    if (fiber.state != AT_BARRIER) continue;
    if (waiting++ == 0) first = fiber.place;
    if (fiber.place.line != first.line || strcmp(fiber.place.file, first.file)) other = fiber.place;
  }
  if (other.file && waiting == *live) return fail(DIVERGED, first, other, waiting, *live);
  if (waiting && waiting == *live) {
    ++block.generation;
    for (int i = 0; i < block.count; ++i)
      if (block.fibers[i].state == AT_BARRIER) block.fibers[i].state = READY;
    return FINE;
  }
  if (*live && !anyone_ran)
    return fail(DEADLOCK, waiting ? first : stuck, {}, waiting ? waiting : *live, *live);
  return FINE;
}

// Orders of threads: seed 0 counts up, 1 down, others are drawn anew at every round.
SHIM_OWN inline Failure run_block(std::mt19937& random, unsigned seed) {
  prepare_block();
  std::vector<int> order(block.count);
  std::iota(order.begin(), order.end(), 0);
  if (seed == 1) std::reverse(order.begin(), order.end());
  release(&block.start);
  for (int live = 1; live;) {
    if (seed > 1) std::shuffle(order.begin(), order.end(), random);
    bool ran = false;
    for (int i : order)
      if (block.fibers[i].state == READY) resume(block.fibers[i]), ran = true;
    ran |= open_warp_barriers();
    if (Failure failure = open_barrier(ran, &live)) return failure;
  }
  acquire(&block.finish);
  return FINE;
}

}  // namespace shim
