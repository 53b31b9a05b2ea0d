"""Necks: three feature maps in, three out."""
