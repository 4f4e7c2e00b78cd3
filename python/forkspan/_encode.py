# SPDX-License-Identifier: Apache-2.0
"""Spans of the SDK as ExportTraceServiceRequest (opentelemetry-proto, trace.v1), without protobuf."""
import struct
from collections.abc import Mapping, Sequence

REQUEST_MAX = 64 * 1024  # what forkspan_submit takes

_fixed64 = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack
_fixed32 = struct.Struct("<I").pack


def varint(n):
    if n < 0x80:
        return bytes((n,))
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def sized(tag, content):
    return tag + varint(len(content)) + content


def text(value):
    return value.encode("utf-8", "replace")  # a lone surrogate is "?"


def any_value(value):
    if isinstance(value, str):
        return sized(b"\x0a", text(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
        return sized(b"\x0a", text(str(value)))  # there is no such number in the protocol
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, (bytes, bytearray)):
        return sized(b"\x3a", bytes(value))
    if isinstance(value, Sequence):
        return sized(b"\x2a", b"".join(sized(b"\x0a", any_value(v)) for v in value))
    if isinstance(value, Mapping):
        return sized(b"\x32", attributes(b"\x0a", value))
    return b"" if value is None else sized(b"\x0a", text(str(value)))


def attributes(tag, pairs):
    return b"".join(sized(tag, sized(b"\x0a", text(str(k))) + sized(b"\x12", any_value(v))) for k, v in (pairs or {}).items())


def dropped_of(thing):
    return getattr(thing, "dropped", 0) or 0


def count(tag, n):
    return tag + varint(n) if n else b""


def flags(context):
    """Of a link's context, or of a parent's, which says whether that is of another process."""
    return 0x100 | (0x200 if context is not None and context.is_remote else 0)


def event(e):
    return sized(b"\x5a", b"\x09" + _fixed64(e.timestamp) + sized(b"\x12", text(e.name)) + attributes(b"\x1a", e.attributes)
                 + count(b"\x20", dropped_of(e.attributes)))


def link(x):
    c = x.context
    state = text(c.trace_state.to_header()) if c.trace_state else b""
    return sized(b"\x6a", b"\x0a\x10" + c.trace_id.to_bytes(16, "big") + b"\x12\x08" + c.span_id.to_bytes(8, "big")
                 + (sized(b"\x1a", state) if state else b"") + attributes(b"\x22", x.attributes) + count(b"\x28", dropped_of(x.attributes))
                 + b"\x35" + _fixed32(flags(c) | int(c.trace_flags)))


def span(s):
    """Field 2 of a ScopeSpans."""
    c, parent, status = s.context, s.parent, s.status
    parts = [b"\x0a\x10", c.trace_id.to_bytes(16, "big"), b"\x12\x08", c.span_id.to_bytes(8, "big")]
    if c.trace_state:
        parts.append(sized(b"\x1a", text(c.trace_state.to_header())))
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    start = s.start_time or 0
    parts += (sized(b"\x2a", text(s.name)), b"\x30", varint(s.kind.value + 1), b"\x39", _fixed64(start),
              b"\x41", _fixed64(max(start, s.end_time or 0)), attributes(b"\x4a", s.attributes), count(b"\x50", s.dropped_attributes))
    parts += map(event, s.events)
    parts.append(count(b"\x60", s.dropped_events))
    parts += map(link, s.links)
    parts.append(count(b"\x70", s.dropped_links))
    code = status.status_code.value
    if code:
        parts.append(sized(b"\x7a", (sized(b"\x12", text(status.description)) if status.description else b"") + b"\x18" + varint(code)))
    parts += (b"\x85\x01", _fixed32(flags(parent) | int(c.trace_flags)))
    return sized(b"\x12", b"".join(parts))


class Encoder:
    """Keeps the encoded form of the few resources and scopes that a process has."""

    KEPT = 256

    def __init__(self, encode=span):
        self._span = encode
        self._kept = {}

    def _once(self, thing, encode):
        found = self._kept.get(id(thing))
        if found is None or found[0] is not thing:
            if len(self._kept) >= self.KEPT:
                self._kept.clear()
            found = self._kept[id(thing)] = (thing, encode(thing))  # held, so that its id stays its own
        return found[1]

    @staticmethod
    def _resource(resource):
        """(field 1 of a ResourceSpans, field 3)"""
        return sized(b"\x0a", attributes(b"\x0a", resource.attributes)), sized(b"\x1a", text(resource.schema_url)) if resource.schema_url else b""

    @staticmethod
    def _scope(scope):
        """(field 1 of a ScopeSpans, field 3)"""
        body = sized(b"\x0a", text(scope.name)) + (sized(b"\x12", text(scope.version)) if scope.version else b"")
        body += attributes(b"\x1a", getattr(scope, "attributes", None))
        return sized(b"\x0a", body), sized(b"\x1a", text(scope.schema_url)) if scope.schema_url else b""

    def _wrap(self, resource, scope, spans):
        before, after = self._once(scope, self._scope) if scope is not None else (b"", b"")
        scope_spans = sized(b"\x12", before + spans + after)
        before, after = self._once(resource, self._resource)
        return sized(b"\x0a", before + scope_spans + after)

    def request(self, s):
        """The request of one span."""
        return self._wrap(s.resource, s.instrumentation_scope, self._span(s))

    def requests(self, spans):
        """As few as the limit of their size allows. One span that is over it is in one that is over it."""
        groups = {}
        for s in spans:
            groups.setdefault((id(s.resource), id(s.instrumentation_scope)), []).append(s)
        for members in groups.values():
            resource, scope = members[0].resource, members[0].instrumentation_scope
            room = REQUEST_MAX - len(self._wrap(resource, scope, b"")) - 16  # longer lengths
            waiting, size = [], 0
            for s in members:
                encoded = self._span(s)
                if waiting and size + len(encoded) > room:
                    yield self._wrap(resource, scope, b"".join(waiting))
                    waiting, size = [], 0
                waiting.append(encoded)
                size += len(encoded)
            yield self._wrap(resource, scope, b"".join(waiting))
