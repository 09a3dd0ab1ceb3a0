"""batch_norm: the rungs in CUDA C++ and what launches them."""
