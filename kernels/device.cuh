// What every kernel file begins with: the few names that NVRTC, nvcc and the host shim must share.
//
// The device language of this project is a part of CUDA C++, so that the same file runs on a GPU
// and, compiled by g++ with the host shim, on a CPU:
//   - kernels are `extern "C" __global__ void`; templates called from them are fine;
//   - no #include but of .cuh files of this project, no inline PTX outside tensor_core.cuh and
//     half.cuh, no <<<>>>;
//   - static shared arrays stand in kernels or plain functions, not in templates or lambdas; arrays
//     whose size the launch decides are DYNAMIC_SHARED(type, name);
//   - sizes and offsets that can pass 2^31 are i64.
#pragma once

#ifndef MINIMASK_HOST_SHIM
typedef long long i64;
typedef unsigned int u32;
typedef unsigned long long u64;
#define DYNAMIC_SHARED(type, name)                                        \
  extern __shared__ __align__(16) unsigned char minimask_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(minimask_dynamic_shared)
#endif

// The index of this thread along x in the whole grid, and how many threads that is.
__device__ inline i64 global_thread() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline i64 global_threads() { return i64(gridDim.x) * blockDim.x; }
