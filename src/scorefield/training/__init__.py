"""What trains: the task that every training shares, recipes of the embedded priors, students.

`TrainingTask` (task.py) is AdamW with a moving average for the one loop of `scorefield.runs`;
policies are trained by it too. The recipes render or read their images, train codec, network and
judge, and write folders that `load_prior` takes. `students` distils a prior into few steps.
"""
