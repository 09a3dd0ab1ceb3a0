"""conv2d: the rungs in Numba-CUDA, for reading."""
