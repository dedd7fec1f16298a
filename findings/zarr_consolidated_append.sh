#!/usr/bin/env bash
# In a zarr group that was once consolidated, root["data"].append(rows) in a loop keeps the last rows only: zarr 3 takes
# every root["data"] from the summary that it read when the group was opened, so each append begins at the old length
# and overwrites the one before. No error; and who opens the group later sees the old length and loses what was added.
# zarr 2 did neither, and appends as one would think. Replay buffers of robots are built by such loops: keep the array
# in a variable, open with use_consolidated=False, and consolidate again at the end.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/append.py" <<'PY'
import sys
import warnings

import numpy as np
import zarr

warnings.simplefilter("ignore")
path, summary, opened = sys.argv[1], sys.argv[2] == "yes", {}
if sys.argv[3] == "no":
    opened["use_consolidated"] = False
kept = {} if zarr.__version__.startswith("2.") else {"zarr_format": 2}
root = zarr.open_group(path, mode="w", **kept)
zarr.open_array(path, path="data", mode="w", shape=(0,), chunks=(4,), dtype="i4", **kept)
if summary:
    zarr.consolidate_metadata(path)
root = zarr.open_group(path, mode="a", **opened)
for episode in (1, 2, 3):
    root["data"].append(np.full(3, episode, np.int32))
seen = zarr.open_group(path, mode="r", **opened)["data"][:].tolist()
held = zarr.open_array(f"{path}/data", mode="r")[:].tolist()
named = f"consolidated {sys.argv[2]}, use_consolidated {sys.argv[3]}"
print(f"zarr {zarr.__version__}, {named}: reopened {seen}, in the array's files {held}")
PY
python3 -m venv "$work/two" && "$work/two/bin/pip" install -q zarr==2.18.7 numcodecs==0.15.1 numpy==2.4.6
python3 -m venv "$work/three" && "$work/three/bin/pip" install -q zarr==3.1.6 numpy==2.4.6
run() { "$work/$1/bin/python" "$work/append.py" "$work/$1-$2-$3" "$2" "$3"; }
two=$(run two yes -) plain=$(run three no -) three=$(run three yes -) cured=$(run three yes no)
printf '%s\n' "$two" "$plain" "$three" "$cured"
all="[1, 1, 1, 2, 2, 2, 3, 3, 3]"
whole="reopened $all, in the array's files $all"
[[ $two == *"$whole" && $plain == *"$whole" && $cured == *"$whole" ]]
[[ $three == *"reopened [], in the array's files [3, 3, 3]" ]]
