"""Ablations: one choice of the model changed at a time, trained with several seeds, compared.

The tables of the Mask R-CNN paper on generated images (or a data set of one's own), with small
networks: not its numbers, but whether its directions show.  `minimask ablate` is the command.
"""
