#!/usr/bin/env bash
# safetensors writes the entries of a file's metadata in an order that differs from process to process: the same
# tensors and the same metadata give files of other bytes, so that hashes of weights, caches and resumed runs differ.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6
hashes() {
    for _ in $(seq 12); do
        "$work/venv/bin/python" - "$1" "$work/a.safetensors" <<'PY'
import hashlib
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

entries = {f"key{i}": str(i) for i in range(int(sys.argv[1]))}
save_file({"a": np.zeros(4, np.float32)}, sys.argv[2], metadata=entries)
print(hashlib.sha256(Path(sys.argv[2]).read_bytes()).hexdigest())
PY
    done | sort -u | wc -l
}
one=$(hashes 1) eight=$(hashes 8)
echo "safetensors 0.8.0, 12 processes each: $one hash with one entry of metadata, $eight hashes with eight"
[ "$one" -eq 1 ] && [ "$eight" -gt 1 ]
