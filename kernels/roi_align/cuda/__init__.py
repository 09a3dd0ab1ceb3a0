"""roi_align: the rungs in CUDA C++ and what launches them."""
