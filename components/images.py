"""The container images of the steps, and the decorator that every step carries.

The image holds the library, so a step installs nothing when it runs.
"""

import os
from functools import partial

from kfp import dsl

CPU_IMAGE = os.environ.get("DAMO_YOLO_IMAGE", "damo-yolo-pipeline-python:0.1.0")
"""Set DAMO_YOLO_IMAGE when compiling to use the image of one's own registry."""

step = partial(dsl.component, base_image=CPU_IMAGE, install_kfp_package=False)
"""Decorator of a component: the project's image, no installation at run time."""
