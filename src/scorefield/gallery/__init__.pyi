from .site import write_gallery as write_gallery
