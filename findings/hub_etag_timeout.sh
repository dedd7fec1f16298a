#!/usr/bin/env bash
# hf_hub_download(etag_timeout=1) does not give up after a second: each of six tries may take that long, and
# between them it sleeps 1, 2, 4, 8 and 8 seconds, also when the connection is refused at once. Only
# HF_HUB_OFFLINE=1 ends at once.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q huggingface_hub==2.4.0
HF_HOME="$work/home" HF_ENDPOINT=http://127.0.0.1:9 "$work/venv/bin/python" - <<'PY'
import logging
import sys
import time

import huggingface_hub
from huggingface_hub import hf_hub_download

said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger("huggingface_hub").addHandler(Listener())
before = time.monotonic()
try:
    hf_hub_download("owner/model", "config.json", etag_timeout=1)
    error = None
except Exception as problem:
    error = type(problem).__name__
seconds = time.monotonic() - before
retries = sum("Retry" in line for line in said)
print(f"huggingface_hub {huggingface_hub.__version__}: {error} after {retries} retries, {seconds:.0f} s")
sys.exit(not (error == "LocalEntryNotFoundError" and retries == 5 and seconds > 20))
PY
