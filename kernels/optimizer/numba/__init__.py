"""optimizer: the rungs in Numba-CUDA, for reading."""
