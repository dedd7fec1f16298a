"""Readers of the formats that demonstrations come in; each yields `Episode`s, one at a time.

`read_episodes` finds out which one it is. Collect what is read with `Episodes.of`, or write it with
`write_episodes` to a folder that is mapped, if it is larger than memory.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
