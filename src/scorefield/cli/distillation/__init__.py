"""Commands that distil a prompt into a 3D object or a vector drawing."""
