"""The kernel lab: hold kernels against their references, race checks, compilers and clocks.

Tiers, each needs what the one before cannot see:

1. `values.py`: the result, against the float64 reference, CUDA C++ in the host shim;
2. `processes.py`: the same under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer,
   and the Numba twins in Numba's simulator;
3. `compile_gate.py`: what the real compilers make of it, registers, spills, float64;
4. a real GPU.
"""
