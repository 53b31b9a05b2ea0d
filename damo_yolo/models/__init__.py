"""The detector: backbone, neck, head, decoding and post-processing. Tensors in, tensors out."""
