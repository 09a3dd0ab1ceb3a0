"""The machine, not the network: threads, BLAS, files, GPUs, and where moved modules are."""
