"""roi_pool: the rungs in Numba-CUDA, for reading."""
