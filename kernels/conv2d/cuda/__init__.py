"""conv2d: the rungs in CUDA C++ and what launches them."""
