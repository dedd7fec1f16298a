"""What can be chosen of a diffusion classifier, by name; the command line shows it."""

from typing import Literal

Quantity = Literal["eps", "x0", "v"]
"""What is compared with its prediction."""

Loss = Literal["l2", "l1", "huber"]
"""Of one number's error d: d^2; |d|; d^2 up to |d| = 1 and 2|d| - 1 beyond."""

Spacing = Literal["log_snr", "fraction"]
"""What levels are uniform in: log-SNR, or the schedule's fraction, which is its timestep."""
