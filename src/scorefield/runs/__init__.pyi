from .folder import RunFolder as RunFolder
from .job import Job as Job
from .job import run as run
from .loop import NonFiniteError as NonFiniteError
from .loop import Task as Task
from .loop import optimise as optimise
