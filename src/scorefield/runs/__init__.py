"""Run folders that resume to the same bits, and the one optimisation loop."""
