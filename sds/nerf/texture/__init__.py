"""A mesh that one has, painted to a prompt, and a scene's own mesh, refined.

`settings` and `presets` say how, `user_mesh` reads the mesh; `painting` is the base of both jobs,
`distillation` the one of a user's mesh, `refinement` the one of a scene's.
"""
