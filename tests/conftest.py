"""Settings of every test: no network, threads as the environment says, and what is collected."""

import gc
import os

# Before any library that reads them is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch

if threads := os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(threads))

# The modules make a million objects that live to the end. They are not searched for garbage while
# they are made, nor afterwards, again and again, during the tests.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
