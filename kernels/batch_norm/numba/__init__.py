"""batch_norm: the rungs in Numba-CUDA, for reading."""
