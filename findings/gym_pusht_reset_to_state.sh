#!/usr/bin/env bash
# gym-pusht's reset(options={"reset_to_state": state}) does not reset to the state. It places the block before it turns
# it, and pymunk turns a body about its centre of gravity, which is not the T's origin: the observation that comes back
# has the block up to 90 pixels of 512 from where the given one has it. An episode that is started again from its own first
# observation is another episode. (The code keeps this order for old demonstrations; the docs do not say so.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q gym-pusht==0.1.8 "pymunk==6.11.1" gymnasium==1.4.0 numpy==2.4.6
SDL_VIDEODRIVER=dummy "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import gym_pusht  # noqa: F401
import gymnasium
import numpy as np

print(f"gym-pusht {version('gym-pusht')}: the block, x, y and angle")
environment = gymnasium.make("gym_pusht/PushT-v0", obs_type="state")
distances = []
for angle in (0.0, np.pi / 4, np.pi):
    given = np.array([100.0, 400.0, 256.0, 256.0, angle])
    seen, _ = environment.reset(seed=0, options={"reset_to_state": given})
    distances.append(float(np.hypot(*(seen[2:4] - given[2:4]))))
    print(f"  given {given[2:].round(2)}, observed {seen[2:].round(2)}: {distances[-1]:.1f} pixels apart")
first, _ = environment.reset(seed=7)
again, _ = environment.reset(seed=7, options={"reset_to_state": first})
print(f"  a first observation {first[2:].round(1)}, reset to it {again[2:].round(1)}")
raise SystemExit(not (distances[0] < 0.1 and distances[1] > 20 and distances[2] > 60 and abs(first - again).max() > 5))
PY
