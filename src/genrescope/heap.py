"""Memory that was freed stays with the process, where glibc would hand it back to the system.

NumPy's and PyTorch's arrays come and go by the megabyte. By default glibc takes each from the
kernel and gives it back, and the kernel fills it with zeros again every time: for small networks
that was more than half of the time of a training. `mallopt` is documented in its manual page,
mallopt(3).
"""

from __future__ import annotations

import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP = 2**30  # bytes at the end of the heap that are not given back
_GROW = 2**26  # bytes by which the heap grows
_MAPPED = 2**25  # larger arrays than this are given back; glibc allows no more than 32 MiB


def keep_freed_memory() -> bool:
    """Keep up to a gigabyte for what is allocated next; whether this system can be told so."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library than glibc
        return False
    settings = ((_M_MMAP_THRESHOLD, _MAPPED), (_M_TRIM_THRESHOLD, _KEEP), (_M_TOP_PAD, _GROW))
    return all(mallopt(option, value) == 1 for option, value in settings)
