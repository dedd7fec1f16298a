"""Published benchmarks in folders of one's own: their layouts, their protocols, their reports."""
