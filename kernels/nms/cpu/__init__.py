"""nms: the rungs for NumPy arrays: what runs where there is no GPU."""
