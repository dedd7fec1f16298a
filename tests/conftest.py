"""Settings of every test: no network, and as many threads as the environment says."""

import os

# Before any library that reads them is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch

if threads := os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(threads))
