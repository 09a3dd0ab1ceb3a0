"""CUDA C++ on a CPU: the kernels' own source, compiled by g++, one fiber per CUDA thread.

`cuda_shim.hpp` gives g++ the words of the device language, `block.hpp` runs one block with real
barriers and warp exchanges, `fibers.hpp` switches between threads, `counting.cpp` counts accesses.
`build.py` compiles, `emulator.py` launches, `sanitized.py` starts a process under a sanitizer.

What it shows: wrong values, indices out of range, races between the threads of a block (missing
barriers, missing atomics), deadlocks, reads of shared memory that nobody has written.  What it
cannot show: speed, the order of memory between blocks, the rounding of fused operations.
"""
