"""Networks that denoise action chunks: perceptron, one-dimensional U-Net, transformer; encoders."""
