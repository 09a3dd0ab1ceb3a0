"""conv2d: the rungs for NumPy arrays: what runs where there is no GPU."""
