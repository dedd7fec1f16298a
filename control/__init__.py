"""Control by denoising: policies that sample action chunks given observations."""
