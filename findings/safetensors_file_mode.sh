#!/usr/bin/env bash
# safetensors writes files that only their owner can read, whatever the umask: weights that one account
# trains are unreadable for the service account beside the readable config.json of the same folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import os
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import save_file

os.umask(0o022)
values, modes = np.zeros(4, np.float32), {}
np.save(f"{sys.argv[1]}/a.npy", values)
save_file({"a": values}, f"{sys.argv[1]}/a.safetensors")
with open(f"{sys.argv[1]}/existing.safetensors", "wb"):
    pass
os.chmod(f"{sys.argv[1]}/existing.safetensors", 0o644)
save_file({"a": values}, f"{sys.argv[1]}/existing.safetensors")
for name in ("a.npy", "a.safetensors", "existing.safetensors"):
    modes[name] = oct(os.stat(f"{sys.argv[1]}/{name}").st_mode & 0o777)
print(f"safetensors {version('safetensors')}, umask 022: {modes}")
expected = {"a.npy": "0o644", "a.safetensors": "0o600", "existing.safetensors": "0o600"}
sys.exit(modes != expected)
PY
