from .settings import TraceSettings as TraceSettings
from .trace import trace_picture as trace_picture
