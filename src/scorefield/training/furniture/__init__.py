"""The recipe of the prior `objects`: views of real things, rendered from openly licensed meshes.

`catalogue` fetches the meshes and names them, `models` loads one, `views` renders it, and `recipe`
trains.
"""
