#!/usr/bin/env bash
# Hugging Face datasets' imagefolder: a metadata file that captions some of the images takes the others away, and the labels
# of all. Folders by class give images with labels; the same folders with a metadata.jsonl that names four of six images
# give those four, with their captions and without labels. No warning, however many are left out, and drop_labels=False
# brings back neither the images nor the labels.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
HF_HUB_OFFLINE=1 HF_HOME="$work/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$work/venv/bin/python" - "$work/pictures" <<'PY'
import json
import sys
import warnings
from pathlib import Path

import datasets
from PIL import Image

folder = Path(sys.argv[1])
for name in ("cat", "dog"):
    (folder / name).mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (40 * number, 90, 10)).save(folder / name / f"{number}.png")


def read(**more) -> tuple[int, list[str]]:
    found = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", **more)
    return len(found), sorted(found.features)


print(f"datasets {datasets.__version__}: six images in folders by class")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    before = read()
    print(f"  alone: {before}")
    rows = [{"file_name": f"{name}/{number}.png", "text": f"a {name}"} for name in ("cat", "dog") for number in (0, 1)]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    after, kept = read(), read(drop_labels=False)
print(f"  with captions of four: {after}; with drop_labels=False {kept}; warnings: {len(said)}")
raise SystemExit(not (before == (6, ["image", "label"]) and after == (4, ["image", "text"]) and kept[0] == 4))
PY
