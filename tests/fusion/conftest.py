"""``PARIBUS_TEST_DEVICE=cuda pytest tests/fusion`` tries groups on a GPU."""

from __future__ import annotations

import os

import second_device
from fusion_cases import DEVICE

if second_device.NAME == DEVICE:
    second_device.add(os.environ["PARIBUS_TEST_BUILD"])
