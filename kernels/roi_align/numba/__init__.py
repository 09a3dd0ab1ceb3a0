"""roi_align: the rungs in Numba-CUDA, for reading."""
