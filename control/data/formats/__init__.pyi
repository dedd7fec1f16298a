from .demonstrations import Choice as Choice
from .demonstrations import Demonstrations as Demonstrations
from .detect import open_demonstrations as open_demonstrations
from .detect import read_episodes as read_episodes
from .features import Feature as Feature
from .hdf5 import read_robomimic as read_robomimic
from .lerobot import read_lerobot as read_lerobot
from .replay_buffer import read_replay_buffer as read_replay_buffer
