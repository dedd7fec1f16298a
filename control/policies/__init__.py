"""Policies: diffusion policies and their rivals, samplers, action chunk continuation, export.

`policy` is what acts; `diffusion_policy` is the one that denoises chunks (denoising), by the steps
of `solver`, and `chunking` goes on from the chunk before. `loading` reads folders, `reference`
the state dicts of diffusion_policy, and `export` writes ONNX, which `runner` acts with in numpy.
`lerobot` reads LeRobot's policies (lerobot_statistics: how they normalise) and `lerobot_export`
writes them, both with their networks of images (lerobot_cameras); `lerobot_observations` are named
as there.
"""
