// What the counting build and the host shim tell each other.
#pragma once
#include <cstddef>

struct ShimView {  // where the running thread is, and which addresses are whose
  int thread;
  unsigned block;
  const char *stack, *fixed, *dynamic;
  size_t stack_bytes, fixed_bytes, dynamic_bytes;
};

struct ShimCount {  // of one array, or of shared memory
  double reads, writes, atomics;                // by single threads
  double read_bytes, write_bytes;               // atomics count as both
  double read_requests, write_requests;         // by warps: one instruction of its threads at once
  double read_transactions, write_transactions; // 32-byte sectors, or for shared memory rounds
  double read_least, write_least;               // as many as the bytes need at best
};

struct ShimConflict {  // two blocks met in one word of global memory, not both atomically
  int array;
  size_t offset;  // in bytes
  unsigned first_block, second_block;
  const void* place;  // the instruction of the second one
  int write;
};

extern "C" {
int shim_view(ShimView* view);  // 0: no thread runs
void shim_block_has_run();
void shim_count_begin(int arrays, const char** starts, const size_t* bytes);
int shim_count_result(int array, ShimCount* count);  // array -1: shared memory
int shim_conflict(ShimConflict* conflict);           // the first one; 0 if there is none
}
