"""Whether products in bfloat16 work on this machine.

A virtual machine may announce matrix units (AMX) that it does not have. oneDNN, which torch multiplies with, believes it, and the process
dies by an illegal instruction. So a child tries first, and where it dies torch multiplies without oneDNN.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

__all__ = ["safe_products"]

_SECONDS = 20.0


def safe_products(dtype: str) -> AbstractContextManager[None]:
    """For a block of work in which torch multiplies in this type.

    Args:
        dtype: Of the products: float32, float64 or bfloat16.
    """
    if dtype != "bfloat16" or _tried():
        return nullcontext()
    flags: AbstractContextManager[None] = torch.backends.mkldnn.flags(enabled=False)
    return flags


@cache
def _tried() -> bool:
    child = os.fork()
    if child == 0:
        _try()
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _try() -> None:
    """In the child: nothing is printed, nothing is cleaned up."""
    status = 1
    try:
        # Whoever writes tracebacks of a dying process shall not write this one's.
        signal.signal(signal.SIGILL, signal.SIG_DFL)
        # The parent's other threads are not here: a child that waits for them would wait for ever.
        torch.set_num_threads(1)
        layer, rows = torch.nn.Linear(64, 64), torch.ones(64, 64)
        with torch.autocast("cpu", torch.bfloat16):
            layer(rows).float().sum().backward()
        status = 0
    finally:
        os._exit(status)
