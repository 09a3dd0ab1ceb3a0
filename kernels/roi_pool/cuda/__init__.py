"""roi_pool: the rungs in CUDA C++ and what launches them."""
