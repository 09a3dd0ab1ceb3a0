// CUDA C++ for g++: the part of the language that this project's kernels use (see device.cuh).
#pragma once
#define MINIMASK_HOST_SHIM 1
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <tuple>
#include <type_traits>
#include <utility>

#include "block.hpp"

using i64 = long long;
using u32 = unsigned int;
using u64 = unsigned long long;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __constant__ const
#define __shared__ static __attribute__((section("minimask_shared")))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(shim::block.dynamic.data())

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

#define threadIdx (shim::running->thread)
#define blockIdx (shim::block.index)
#define blockDim (shim::block.threads)
#define gridDim (shim::block.grid)
#define warpSize 32

// ---- waiting and exchanging
#define SHIM_HERE (shim::Place{__FILE__, __LINE__})
#define __syncthreads() shim::wait_for_block(SHIM_HERE)
#define __syncthreads_count(p) shim::count_votes(p, SHIM_HERE)
#define __syncthreads_or(p) (shim::count_votes(p, SHIM_HERE) > 0)
#define SHIM_WARP_MASK(mask, ...) mask
#define __syncwarp(...) shim::wait_for_warp(SHIM_WARP_MASK(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu), SHIM_HERE, true)
#define __ballot_sync(mask, p) shim::ballot(mask, p, SHIM_HERE)
#define __any_sync(mask, p) (shim::ballot(mask, p, SHIM_HERE) != 0)
#define __all_sync(mask, p) (shim::ballot(mask, !(p), SHIM_HERE) == 0)
#define SHIM_LANE (shim::running->number % 32)
#define __shfl_sync(mask, v, source) shim::exchange(mask, v, source, SHIM_HERE)
#define __shfl_xor_sync(mask, v, d) shim::exchange(mask, v, SHIM_LANE ^ (d), SHIM_HERE)
#define __shfl_down_sync(mask, v, d) \
  shim::exchange(mask, v, SHIM_LANE + (d) > 31 ? SHIM_LANE : SHIM_LANE + (d), SHIM_HERE)
#define __shfl_up_sync(mask, v, d) \
  shim::exchange(mask, v, SHIM_LANE < int(d) ? SHIM_LANE : SHIM_LANE - int(d), SHIM_HERE)
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// ---- atomics; inlined, so that reports name the kernel's line
#define SHIM_ATOMIC inline __attribute__((always_inline))
template <class T, class U>
SHIM_ATOMIC T atomicAdd(T* address, U operand) {
  const T value = T(operand);
  if constexpr (std::is_integral_v<T>) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
  } else {
    T old, sum;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    do sum = old + value;
    while (!__atomic_compare_exchange(address, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
  }
}
template <class T, class F>
SHIM_ATOMIC T shim_atomic_update(T* address, F update) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(address, &old, update(old), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return old;
}
template <class T, class U>
SHIM_ATOMIC T atomicMax(T* address, U v) { return shim_atomic_update(address, [=](T o) { return o > T(v) ? o : T(v); }); }
template <class T, class U>
SHIM_ATOMIC T atomicMin(T* address, U v) { return shim_atomic_update(address, [=](T o) { return o < T(v) ? o : T(v); }); }
template <class T, class U>
SHIM_ATOMIC T atomicOr(T* address, U v) { return __atomic_fetch_or(address, T(v), __ATOMIC_RELAXED); }
template <class T, class U>
SHIM_ATOMIC T atomicAnd(T* address, U v) { return __atomic_fetch_and(address, T(v), __ATOMIC_RELAXED); }
template <class T, class U>
SHIM_ATOMIC T atomicExch(T* address, U v) { return __atomic_exchange_n(address, T(v), __ATOMIC_RELAXED); }
template <class T, class U, class V>
SHIM_ATOMIC T atomicCAS(T* address, U compare, V v) {
  T expected = T(compare);
  __atomic_compare_exchange_n(address, &expected, T(v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// ---- numbers
#define SHIM_MIN_MAX(type)                                     \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
SHIM_MIN_MAX(int) SHIM_MIN_MAX(u32) SHIM_MIN_MAX(i64) SHIM_MIN_MAX(u64)
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
using std::isfinite;
using std::isinf;
using std::isnan;
// g++ rounds after every operation unless told otherwise, as these demand of nvcc
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
template <class To, class From>
inline To shim_bits(From from) { To to; memcpy(&to, &from, sizeof to); return to; }
inline int __float_as_int(float v) { return shim_bits<int>(v); }
inline u32 __float_as_uint(float v) { return shim_bits<u32>(v); }
inline float __int_as_float(int v) { return shim_bits<float>(v); }
inline float __uint_as_float(u32 v) { return shim_bits<float>(v); }
inline int __popc(u32 v) { return __builtin_popcount(v); }
inline int __popcll(u64 v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(i64 v) { return __builtin_ffsll(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline int __clzll(i64 v) { return v ? __builtin_clzll(u64(v)) : 64; }
template <class T>
inline T __ldg(const T* p) { return *p; }

// ---- launching
#ifdef MINIMASK_COUNT
#include "counting.hpp"
// What counting.cpp, which is compiled without instrumentation, must know of the running thread.
extern "C" SHIM_OWN int shim_view(ShimView* view) {
  if (!shim::running) return 0;
  const shim::Index i = shim::block.index, g = shim::block.grid;
  view->thread = shim::running->number;
  view->block = i.x + g.x * (i.y + g.y * i.z);
  view->stack = shim::running->stack;
  view->stack_bytes = shim::STACK_BYTES;
  view->fixed = __start_minimask_shared;
  view->fixed_bytes = __stop_minimask_shared - __start_minimask_shared;
  view->dynamic = shim::block.dynamic.data();
  view->dynamic_bytes = shim::block.dynamic.size();
  return 1;
}
#endif

namespace shim {

template <class... A, size_t... I>
SHIM_OWN int launch(void (*kernel)(A...), const unsigned* shape, size_t dynamic_bytes, void** arguments,
                    unsigned seed, std::index_sequence<I...>) {
  static std::tuple<void (*)(A...), std::decay_t<A>...> call;
  call = {kernel, *static_cast<std::decay_t<A>*>(arguments[I])...};
  block.body = []() {
    std::apply([](auto k, auto... a) { k(a...); }, call);
  };
  block.grid = {shape[0], shape[1], shape[2]};
  block.threads = {shape[3], shape[4], shape[5]};
  block.count = shape[3] * shape[4] * shape[5];
  block.dynamic.resize(dynamic_bytes);
  block.error[0] = 0;
#if SHIM_TSAN
  scheduler.tsan = __tsan_get_current_fiber();
#endif
  std::mt19937 random(seed);
  std::vector<unsigned> order(size_t(shape[0]) * shape[1] * shape[2]);
  std::iota(order.begin(), order.end(), 0u);
  if (seed == 1) std::reverse(order.begin(), order.end());
  if (seed > 1) std::shuffle(order.begin(), order.end(), random);
  for (unsigned b : order) {
    block.index = {b % shape[0], b / shape[0] % shape[1], b / (shape[0] * shape[1])};
    if (Failure failure = run_block(random, seed)) return failure;
#ifdef MINIMASK_COUNT
    shim_block_has_run();
#endif
  }
  return FINE;
}

template <class... A>
SHIM_OWN int launch(void (*kernel)(A...), const unsigned* shape, size_t bytes, void** arguments, unsigned seed) {
  return launch(kernel, shape, bytes, arguments, seed, std::index_sequence_for<A...>{});
}

}  // namespace shim

extern "C" const char* shim_error() { return shim::block.error; }
// `::kernel`, so that a kernel may be called "bytes" or "seed" too
#define SHIM_EXPORT(kernel)                                                                      \
  extern "C" int host_##kernel(const unsigned* shape, size_t bytes, void** arguments, unsigned seed) { \
    return shim::launch(::kernel, shape, bytes, arguments, seed);                                \
  }
