// Count what every thread reads and writes, and what its warp makes of it.
//
// The kernel is compiled as for ThreadSanitizer, which puts a call before every access to memory,
// and linked with the calls below instead of with ThreadSanitizer.  The n-th execution of one
// instruction by each of the 32 threads of a warp is taken as one request of the warp: the 32-byte
// sectors its addresses touch are what global memory moves, and the most different words in one of
// the 32 banks of shared memory is how many rounds it takes there.  After a branch that threads
// take different numbers of times the pairing is a guess; the numbers of single threads are exact.
//
// The same calls see when two blocks meet in one byte, which on a GPU is a race: blocks run in no
// order.
#include "counting.hpp"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace {

constexpr int SHARED = -1, PRIVATE = -2, WARP = 32;
constexpr uintptr_t SECTOR = 32, BANKS = 32, WORD = 4;

struct Array {
  const char* start;
  size_t bytes;
};
struct Request {
  int array;
  bool write;
  std::vector<uintptr_t> words;
};
struct Byte {  // who touched it last, one more than the block's number
  unsigned writer = 0, reader = 0, second_reader = 0;
  bool atomic = false;
};

std::vector<Array> arrays;
std::vector<ShimCount> counts;  // shared memory first
std::unordered_map<uint64_t, Request> requests;
std::unordered_map<uint64_t, unsigned> executions;
std::unordered_map<uintptr_t, Byte> touched;
std::vector<ShimConflict> conflicts;
bool counting = false;
// Templates of the standard library that both halves use exist once in the library, instrumented:
// what is done here must not be counted, nor call itself.
bool inside = false;

struct Inside {
  Inside() { inside = true; }
  ~Inside() { inside = false; }
};

int whose(const char* address, const ShimView& v) {
  if (address >= v.stack && address < v.stack + v.stack_bytes) return PRIVATE;
  if (address >= v.fixed && address < v.fixed + v.fixed_bytes) return SHARED;
  if (address >= v.dynamic && address < v.dynamic + v.dynamic_bytes) return SHARED;
  for (size_t i = 0; i < arrays.size(); ++i)
    if (address >= arrays[i].start && address < arrays[i].start + arrays[i].bytes) return int(i);
  return PRIVATE;  // constants, the arguments themselves
}

void meet(int array, const char* address, size_t bytes, bool write, bool atomic, const void* place,
          unsigned block) {
  const unsigned me = block + 1;
  for (size_t i = 0; i < bytes; ++i) {
    Byte& byte = touched[uintptr_t(address) + i];
    unsigned other = 0;
    if (byte.writer && byte.writer != me && !(atomic && byte.atomic)) other = byte.writer;
    if (write && byte.reader) other = byte.reader != me ? byte.reader : byte.second_reader;
    if (other && conflicts.empty())
      conflicts.push_back({array, size_t(address - arrays[array].start), other - 1, block, place, write});
    if (write) byte.writer = me, byte.atomic = atomic;
    else if (!byte.reader) byte.reader = me;
    else if (byte.reader != me) byte.second_reader = me;
  }
}

void touch(const void* p, size_t bytes, bool write, bool atomic, const void* place) {
  if (!counting || inside) return;
  const Inside guard;
  ShimView view;
  if (!shim_view(&view)) return;
  const char* address = static_cast<const char*>(p);
  const int array = whose(address, view);
  if (array == PRIVATE) return;
  ShimCount& count = counts[array + 1];
  (atomic ? count.atomics : write ? count.writes : count.reads) += 1;
  if (!write || atomic) count.read_bytes += bytes;
  if (write) count.write_bytes += bytes;
  if (array != SHARED) meet(array, address, bytes, write, atomic, place, view.block);
  const uint64_t here = uint64_t(uintptr_t(place)) << 16;
  const unsigned turn = executions[here ^ unsigned(view.thread)]++;
  const uint64_t key = (here ^ unsigned(view.thread / WARP)) * 0x9E3779B97F4A7C15u ^ turn;
  Request& request = requests[key];
  request.array = array;
  request.write = write;
  // a GPU's allocations begin at a multiple of 256 bytes, so offsets fall into its sectors
  const uintptr_t from = array == SHARED ? uintptr_t(address) : address - arrays[array].start;
  for (uintptr_t w = from / WORD; w <= (from + bytes - 1) / WORD; ++w)
    request.words.push_back(w);
}

template <class T>
size_t distinct(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  return std::unique(values.begin(), values.end()) - values.begin();
}

// What a request costs, and what its bytes would cost at best.
std::pair<size_t, size_t> transactions(Request& request) {
  const size_t words = distinct(request.words);
  request.words.resize(words);
  if (request.array != SHARED) {
    for (uintptr_t& w : request.words) w = w * WORD / SECTOR;
    return {distinct(request.words), (words * WORD + SECTOR - 1) / SECTOR};
  }
  size_t bank[BANKS] = {};
  for (uintptr_t w : request.words) ++bank[w % BANKS];
  return {*std::max_element(bank, bank + BANKS), (words + BANKS - 1) / BANKS};
}

}  // namespace

extern "C" {

void shim_count_begin(int n, const char** starts, const size_t* bytes) {
  const Inside guard;
  arrays.clear();
  for (int i = 0; i < n; ++i) arrays.push_back({starts[i], bytes[i]});
  counts.assign(n + 1, ShimCount{});
  requests.clear(), executions.clear(), touched.clear(), conflicts.clear();
  counting = true;
}

void shim_block_has_run() {
  const Inside guard;
  for (auto& [key, request] : requests) {
    ShimCount& count = counts[request.array + 1];
    (request.write ? count.write_requests : count.read_requests) += 1;
    const auto [spent, least] = transactions(request);
    (request.write ? count.write_transactions : count.read_transactions) += spent;
    (request.write ? count.write_least : count.read_least) += least;
  }
  requests.clear(), executions.clear();
}

int shim_count_result(int array, ShimCount* count) {
  counting = false;
  if (array + 1 >= int(counts.size())) return 0;
  *count = counts[array + 1];
  return 1;
}

int shim_conflict(ShimConflict* conflict) {
  if (conflicts.empty()) return 0;
  *conflict = conflicts[0];
  return 1;
}

// ---- what ThreadSanitizer's instrumentation calls
#define HERE __builtin_return_address(0)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
#define ACCESS(n)                                                                  \
  void __tsan_read##n(void* p) { touch(p, n, false, false, HERE); }                \
  void __tsan_write##n(void* p) { touch(p, n, true, false, HERE); }                \
  void __tsan_unaligned_read##n(void* p) { touch(p, n, false, false, HERE); }      \
  void __tsan_unaligned_write##n(void* p) { touch(p, n, true, false, HERE); }      \
  void __tsan_volatile_read##n(void* p) { touch(p, n, false, false, HERE); }       \
  void __tsan_volatile_write##n(void* p) { touch(p, n, true, false, HERE); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void* p, size_t n) { touch(p, n, false, false, HERE); }
void __tsan_write_range(void* p, size_t n) { touch(p, n, true, false, HERE); }
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}
#define ATOMIC(bits)                                                                              \
  uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t* p, int) {                      \
    return *p;  /* part of a read-modify-write, counted there */                                 \
  }                                                                                               \
  void __tsan_atomic##bits##_store(uint##bits##_t* p, uint##bits##_t v, int) {                    \
    touch(p, bits / 8, true, true, HERE), *p = v;                                                 \
  }                                                                                               \
  int __tsan_atomic##bits##_compare_exchange_strong(uint##bits##_t* p, uint##bits##_t* c,         \
                                                    uint##bits##_t v, int, int) {                 \
    touch(p, bits / 8, true, true, HERE);                                                         \
    if (*p == *c) return *p = v, 1;                                                               \
    return *c = *p, 0;                                                                            \
  }                                                                                               \
  int __tsan_atomic##bits##_compare_exchange_weak(uint##bits##_t* p, uint##bits##_t* c,           \
                                                  uint##bits##_t v, int, int) {                   \
    touch(p, bits / 8, true, true, HERE);                                                         \
    if (*p == *c) return *p = v, 1;                                                               \
    return *c = *p, 0;                                                                            \
  }                                                                                               \
  uint##bits##_t __tsan_atomic##bits##_exchange(uint##bits##_t* p, uint##bits##_t v, int) {       \
    touch(p, bits / 8, true, true, HERE);                                                         \
    const uint##bits##_t old = *p;                                                                \
    return *p = v, old;                                                                           \
  }
#define ATOMIC_UPDATE(bits, name, op)                                                             \
  uint##bits##_t __tsan_atomic##bits##_fetch_##name(uint##bits##_t* p, uint##bits##_t v, int) {   \
    touch(p, bits / 8, true, true, HERE);                                                         \
    const uint##bits##_t old = *p;                                                                \
    return *p = old op v, old;                                                                    \
  }
ATOMIC(32) ATOMIC(64)
ATOMIC_UPDATE(32, add, +) ATOMIC_UPDATE(32, or, |) ATOMIC_UPDATE(32, and, &) ATOMIC_UPDATE(32, sub, -)
ATOMIC_UPDATE(64, add, +) ATOMIC_UPDATE(64, or, |) ATOMIC_UPDATE(64, and, &) ATOMIC_UPDATE(64, sub, -)
}
