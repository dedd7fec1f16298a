"""A frozen diffusion prior is a score field; this library makes such fields and follows them."""

__version__ = "0.1.0"

__all__ = ["__version__"]
