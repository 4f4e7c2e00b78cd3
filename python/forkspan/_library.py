# SPDX-License-Identifier: Apache-2.0
"""forkspan's C API (forkspan.h, struct forkspan_api) in this process, by ctypes."""
import ctypes

_NAMES = ("enabled start rename set event link status end context current attach detach inject extract submit flush").split()


class _Api(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t)] + [(name, ctypes.c_void_p) for name in _NAMES]


class Context(ctypes.Structure):
    """struct forkspan_context"""

    _fields_ = [("trace_id", ctypes.c_ubyte * 16), ("span_id", ctypes.c_ubyte * 8), ("flags", ctypes.c_uint8), ("remote", ctypes.c_uint8),
                ("tracestate_len", ctypes.c_uint16), ("tracestate", ctypes.c_char * 512)]


def _find():
    try:
        found = _Api.in_dll(ctypes.CDLL(None), "forkspan_api_1")
    except (ValueError, OSError):
        return None
    return found if found.size >= ctypes.sizeof(_Api) else None


api = _find()
if api is not None:
    # Keep the GIL: they take a microsecond or two and wait for nothing.
    _submit = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_char_p, ctypes.c_size_t)(api.submit)
    _current = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.POINTER(Context))(api.current)
    _enabled = ctypes.PYFUNCTYPE(ctypes.c_bool)(api.enabled)
    _flush = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint32)(api.flush)


def enabled():
    """Spans are made and sent in this process."""
    return api is not None and _enabled()


def submit(request):
    """Queues an encoded ExportTraceServiceRequest of at most 64 KiB; False where it is none, or has no room."""
    return _submit(request, len(request))


def current():
    """The Context of the request that this thread serves, if there is just one, or of a span attached to it in C; else None."""
    context = Context()
    return context if api is not None and _current(context) else None


def prepare():
    """Makes the memory that processes forked from now on share: what a child ends outlives it."""
    flush(0)


def flush(timeout_millis):
    return api is None or _flush(max(0, min(int(timeout_millis), 2**32 - 1)))
