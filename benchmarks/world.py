"""Images of the procedural world per second, rendered at 64x64 with 4 rays a pixel.

OMP_NUM_THREADS=1 python benchmarks/world.py
"""

import time

import torch

from scorefield.world import draw_scene, render

COUNT, BATCH = 512, 32

scenes = [draw_scene(0, index) for index in range(COUNT)]
render(scenes[:BATCH])  # the first call allocates

start = time.perf_counter()
for first in range(0, COUNT, BATCH):
    render(scenes[first : first + BATCH])
seconds = time.perf_counter() - start
print(f"{COUNT / seconds:.0f} images/s in batches of {BATCH}, {torch.get_num_threads()} thread(s)")
