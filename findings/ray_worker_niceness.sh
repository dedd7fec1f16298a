#!/usr/bin/env bash
# A task of Ray runs at niceness 15, whatever the driver's is: a local cluster on a machine that does
# something else beside waits for it, so that two workers can be slower than the driver alone. The
# environment variable RAY_worker_niceness, read when the cluster starts, changes it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray==2.60.0"

cat > "$folder/look.py" <<'PYTHON'
import os

import ray

print("ray", ray.__version__)
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
driver, task = os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote())
print(f"niceness of the driver {driver}, of a task {task}")
assert task - driver == int(os.environ["EXPECTED"]), "Ray's workers are no longer niced like this"
PYTHON

export RAY_USAGE_STATS_ENABLED=0
EXPECTED=15 "$folder/venv/bin/python" "$folder/look.py"
RAY_worker_niceness=0 EXPECTED=0 "$folder/venv/bin/python" "$folder/look.py"
