from .detect import read_episodes as read_episodes
from .lerobot import read_lerobot as read_lerobot
from .replay_buffer import read_replay_buffer as read_replay_buffer
from .robomimic import read_robomimic as read_robomimic
