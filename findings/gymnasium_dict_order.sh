#!/usr/bin/env bash
# Dict({"velocity": ..., "position": ...}) sorts its keys, Dict(velocity=..., position=...) and Dict([("velocity", ...),
# ...]) keep them. The spaces are equal by ==, but flatten() and FlattenObservation put the same observation into other
# places of the vector: a policy trained on one spelling reads positions as velocities under the other, where a
# comparison of the spaces, as trainers and data sets make it before they start, finds nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q gymnasium==1.4.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, flatten, unflatten

parts = {"velocity": Box(-9, 9, (1,)), "position": Box(-9, 9, (1,))}
spaces = {"a mapping": Dict(parts), "keywords": Dict(**parts), "pairs": Dict(list(parts.items()))}
seen = {"velocity": np.array([1.0], np.float32), "position": np.array([2.0], np.float32)}
vectors = {name: flatten(space, seen).tolist() for name, space in spaces.items()}
equal = all(space == spaces["a mapping"] for space in spaces.values())
read = unflatten(spaces["keywords"], np.array(vectors["a mapping"], np.float32))
print(f"gymnasium {gymnasium.__version__}: velocity 1, position 2; the spaces are equal: {equal}")
print(f"  flattened {vectors}")
print(f"  flattened by the first, read by the second: velocity {read['velocity'][0]}, position {read['position'][0]}")
expected = {"a mapping": [2.0, 1.0], "keywords": [1.0, 2.0], "pairs": [1.0, 2.0]}
raise SystemExit(not (equal and vectors == expected and read["velocity"][0] == 2))
PY
