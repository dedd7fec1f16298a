"""Readers of the formats that demonstrations come in; each yields `Episode`s, one at a time.

`read_episodes` finds out which one it is. Collect what is read with `Episodes.of`, or write it with
`write_episodes` to a folder that is mapped, if it is larger than memory.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
