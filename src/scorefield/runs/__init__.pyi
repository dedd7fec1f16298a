from .folder import RunFolder as RunFolder
from .loop import NonFiniteError as NonFiniteError
from .loop import Task as Task
from .loop import optimise as optimise
