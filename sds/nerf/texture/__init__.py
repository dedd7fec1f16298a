"""A mesh that one has, painted to a prompt: `user_mesh` reads it, `distillation` has the job."""
