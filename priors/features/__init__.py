"""Feature maps of any layer of a prior: hooks, early exit, memory bounds, a disk cache."""
