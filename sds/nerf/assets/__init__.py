"""From a scene to files: surface, mesh, texture, images.

`mesh` extracts the surface, `asset` simplifies, unwraps and paints it, `mesh_files` writes it.
`rasterise` and `surface_views` show a mesh, `turntable` shows a scene, and `export` does all.
"""
