from .settings import TraceSettings as TraceSettings
from .trace import trace_image as trace_image
