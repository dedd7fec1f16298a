#!/usr/bin/env bash
# from_config of a model's own config with a key changed, {**model.config, "told": 7}, leaves the key out without a
# word if the model was made with its default: the config lists such keys in `_use_default_values`, and they win. A
# U-Net "given" class embeddings so has none, ignores class_labels, and trains. Drop the keys that begin with "_".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q diffusers==0.42.1
"$work/venv/bin/python" - <<'PY'
from diffusers import __version__
from diffusers.configuration_utils import ConfigMixin, register_to_config


class Model(ConfigMixin):
    config_name = "config.json"

    @register_to_config
    def __init__(self, width=8, told=None):
        pass


made = Model(width=16)
changed = Model.from_config({**made.config, "told": 7}).config.told
plain = {key: value for key, value in made.config.items() if not key.startswith("_")}
kept = Model.from_config({**plain, "told": 7}).config.told
print(f"diffusers {__version__}: told is {changed}; without _use_default_values it is {kept}")
raise SystemExit(changed is not None or kept != 7)
PY
