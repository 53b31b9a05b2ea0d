"""Heads: feature maps to class and side logits."""
