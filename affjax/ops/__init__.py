"""Array operations: affine convolution, bilinear sampling, resizing, blur."""
