"""box_iou: the rungs in Numba-CUDA, for reading."""
