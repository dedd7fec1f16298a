"""Feature maps of any layer of a prior: hooks, early exit, memory bounds, a disk cache.

`extraction` is the way in: maps that `taps` read from layers, within a bound of memory (memory),
kept on disk (cache). `network_cost` says what layers put out and cost before anything is computed.
"""
