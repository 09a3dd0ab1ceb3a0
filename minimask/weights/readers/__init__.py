"""Readers of files of weights, one module per container; `content` says which a file needs.

No reader runs what is in a file, and none takes memory before it has compared what the file says
with the bytes that the file has.  `minimask.weights.files.read_contents` is the door to them.
"""
