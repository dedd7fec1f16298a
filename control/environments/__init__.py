"""Environments, their experts, and the collection of demonstrations.

`environment` is what is acted in, as a batch: the planar tasks (planar, their expert in routes),
Push-T with its expert, Meta-World and any registered one of gymnasium (simulators, registered).
`image_observations` shows an environment as images, `task_observations` tells a task, and
`collection` keeps what an expert does.
"""
