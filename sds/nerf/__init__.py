"""Objects in space: radiance fields distilled from a frozen prior, and what becomes of them.

`scene_distillation` has the job, text to 3D. A field (`fields`) in a scene (`radiance_field`) is
seen by cameras (`cameras`, drawn by `camera_distribution`) under lights (`lights`), by ray marching
(`marching`). `assets` makes meshes and images of it, `texture` paints a mesh that one has, and
`evaluation` scores a list of prompts.
"""
