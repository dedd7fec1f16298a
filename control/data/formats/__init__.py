"""Readers of the formats that demonstrations come in; each yields `Episode`s, one at a time.

`read_episodes` finds out which one it is. Collect what is read with `Episodes.of`, or write it with
`write_episodes` to a folder that is mapped, if it is larger than memory.
"""

from scorefield.control.data.formats.detect import read_episodes
from scorefield.control.data.formats.lerobot import read_lerobot
from scorefield.control.data.formats.replay_buffer import read_replay_buffer
from scorefield.control.data.formats.robomimic import read_robomimic

__all__ = ["read_episodes", "read_lerobot", "read_replay_buffer", "read_robomimic"]
