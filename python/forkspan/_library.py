# SPDX-License-Identifier: Apache-2.0
"""forkspan's C API (forkspan.h, struct forkspan_api) in this process, by ctypes."""
import ctypes

_NAMES = ("enabled start rename set event link status end context current attach detach inject extract submit flush").split()


class _Api(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t)] + [(name, ctypes.c_void_p) for name in _NAMES]


def _find():
    try:
        found = _Api.in_dll(ctypes.CDLL(None), "forkspan_api_1")
    except (ValueError, OSError):
        return None
    return found if found.size >= ctypes.sizeof(_Api) else None


api = _find()
if api is not None:
    # Keeps the GIL: it takes a microsecond or two and waits for nothing.
    submit_bytes = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_char_p, ctypes.c_size_t)(api.submit)
    _flush = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint32)(api.flush)


def submit(request):
    """Queues an encoded ExportTraceServiceRequest of at most 64 KiB; False where it is none, or has no room."""
    return submit_bytes(request, len(request))


def flush(timeout_millis):
    return api is None or _flush(max(0, min(int(timeout_millis), 2**32 - 1)))
