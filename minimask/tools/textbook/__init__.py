"""The code held against the textbook: the trace, the claims, the RoI explorer, the ablations."""
