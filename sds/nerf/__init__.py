"""Text to 3D: radiance fields, cameras, their distillation, meshes and turntables."""
