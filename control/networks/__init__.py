"""Networks that denoise action chunks: perceptron, one-dimensional U-Net, transformer; encoders.

All are called alike (network): a condition from one of the `encoders`, or from a `lerobot_encoder`,
is prepared once, and a noisy chunk is denoised often, by a `perceptron`, a `unet1d` or a
`transformer`. Their sizes are in `settings`.
"""
