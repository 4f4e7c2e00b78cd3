/* SPDX-License-Identifier: Apache-2.0
 * _native.c - what _encode.py does for one span, in C (limited API: one build for every Python from 3.8 on).
 * Values of kinds that are rare are left to _encode.any_value, so that there is one place that knows them.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03080000
#include <Python.h>

#include <stdint.h>
#include <string.h>

struct bytes {
    unsigned char *p;
    size_t len, room;
    int failed;
};

static PyObject *any_value; /* _encode.any_value */

/* Names of attributes, interned once. */
enum name {
    ATTRIBUTES,
    CONTEXT,
    DROPPED,
    EVENTS,
    IS_REMOTE,
    KIND,
    LINKS,
    NAME,
    PARENT,
    SPAN_ID,
    START,
    STATUS,
    END,
    STATUS_CODE,
    DESCRIPTION,
    TIMESTAMP,
    TO_HEADER,
    TRACE_FLAGS,
    TRACE_ID,
    TRACE_STATE,
    VALUE,
    LINK_CONTEXT,
    PART_ATTRIBUTES,
    DICT,
    ITEMS,
    NAMES
};
static const char *const names[NAMES] = {
    "_attributes", "_context",   "dropped",   "_events",     "is_remote", "_kind",       "_links",
    "_name",       "_parent",    "span_id",   "_start_time", "_status",   "_end_time",   "status_code",
    "description", "timestamp",  "to_header", "trace_flags", "trace_id",  "trace_state", "value",
    "context",     "attributes", "_dict",     "items"};
static PyObject *interned[NAMES];

static PyObject *get(PyObject *o, enum name n)
{
    return PyErr_Occurred() ? NULL : PyObject_GetAttr(o, interned[n]); /* after an error nothing is asked */
}

static int grow(struct bytes *b, size_t more)
{
    if (b->failed || more <= b->room - b->len)
        return !b->failed;
    size_t room = (b->room + more) * 2;
    unsigned char *p = PyMem_Malloc(room);
    if (!p) {
        b->failed = 1;
        PyErr_NoMemory();
        return 0;
    }
    if (b->len)
        memcpy(p, b->p, b->len);
    PyMem_Free(b->p);
    b->p = p;
    b->room = room;
    return 1;
}

static void put(struct bytes *b, const void *p, size_t n)
{
    if (grow(b, n) && n) {
        memcpy(b->p + b->len, p, n);
        b->len += n;
    }
}

static void put_tag(struct bytes *b, unsigned char tag)
{
    put(b, &tag, 1);
}

static void put_varint(struct bytes *b, uint64_t v)
{
    unsigned char out[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (unsigned char)(v | 0x80);
    out[n++] = (unsigned char)v;
    put(b, out, n);
}

static void put_fixed(struct bytes *b, uint64_t v, int n)
{
    unsigned char out[8];
    for (int i = 0; i < n; i++, v >>= 8)
        out[i] = (unsigned char)v;
    put(b, out, (size_t)n);
}

/* A length that is not known yet: the content is moved when it is. */
static size_t begin(struct bytes *b, unsigned char tag)
{
    put_tag(b, tag);
    return b->len;
}

static void end(struct bytes *b, size_t from)
{
    if (b->failed)
        return;
    size_t len = b->len - from, n = 1;
    for (size_t v = len; v >= 0x80; v >>= 7)
        n++;
    if (!grow(b, n))
        return;
    memmove(b->p + from + n, b->p + from, len);
    b->len = from;
    put_varint(b, len);
    b->len += len;
}

static void put_text(struct bytes *b, unsigned char tag, PyObject *s)
{
    PyObject *encoded = s && !b->failed ? PyUnicode_AsEncodedString(s, "utf-8", "replace") : NULL;
    char *p;
    Py_ssize_t n;
    if (!encoded || PyBytes_AsStringAndSize(encoded, &p, &n) < 0) {
        b->failed = 1;
    } else {
        put_tag(b, tag);
        put_varint(b, (uint64_t)n);
        put(b, p, (size_t)n);
    }
    Py_XDECREF(encoded);
}

/* An AnyValue. */
static void put_value(struct bytes *b, PyObject *v)
{
    if (b->failed)
        return;
    if (PyUnicode_Check(v)) {
        put_text(b, 0x0a, v);
    } else if (PyBool_Check(v)) {
        put_tag(b, 0x10);
        put_tag(b, v == Py_True);
    } else if (PyLong_CheckExact(v)) {
        int over;
        long long n = PyLong_AsLongLongAndOverflow(v, &over);
        if (!over) {
            put_tag(b, 0x18);
            put_varint(b, (uint64_t)n);
            return;
        }
        v = PyObject_Str(v);
        put_text(b, 0x0a, v);
        Py_XDECREF(v);
    } else if (PyFloat_CheckExact(v)) {
        double d = PyFloat_AsDouble(v);
        uint64_t bits;
        memcpy(&bits, &d, sizeof bits);
        put_tag(b, 0x21);
        put_fixed(b, bits, 8);
    } else {
        PyObject *encoded = PyObject_CallFunctionObjArgs(any_value, v, NULL);
        char *p;
        Py_ssize_t n;
        if (!encoded || PyBytes_AsStringAndSize(encoded, &p, &n) < 0)
            b->failed = 1;
        else
            put(b, p, (size_t)n);
        Py_XDECREF(encoded);
    }
}

static void put_pair(struct bytes *b, unsigned char tag, PyObject *key, PyObject *value)
{
    size_t pair = begin(b, tag);
    PyObject *text = PyObject_Str(key);
    put_text(b, 0x0a, text);
    Py_XDECREF(text);
    size_t inner = begin(b, 0x12);
    put_value(b, value);
    end(b, inner);
    end(b, pair);
}

static void put_items(struct bytes *b, unsigned char tag, PyObject *mapping)
{
    PyObject *view = PyObject_CallMethodObjArgs(mapping, interned[ITEMS], NULL);
    PyObject *items = view ? PySequence_List(view) : NULL;
    Py_ssize_t n = items ? PyList_Size(items) : 0;
    if (!items)
        b->failed = 1;
    for (Py_ssize_t i = 0; i < n && !b->failed; i++) {
        PyObject *item = PyList_GetItem(items, i);
        PyObject *key = PySequence_GetItem(item, 0), *value = PySequence_GetItem(item, 1);
        if (key && value)
            put_pair(b, tag, key, value);
        else
            b->failed = 1;
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    Py_XDECREF(items);
    Py_XDECREF(view);
}

/* BoundedAttributes hold a plain dictionary, which is read faster than they are. */
static void put_attributes(struct bytes *b, unsigned char tag, PyObject *attributes)
{
    if (b->failed || !attributes || attributes == Py_None) {
        b->failed |= !attributes;
        return;
    }
    PyObject *dict = get(attributes, DICT), *key, *value;
    Py_ssize_t at = 0;
    if (!dict)
        PyErr_Clear();
    if (dict && PyDict_CheckExact(dict))
        while (!b->failed && PyDict_Next(dict, &at, &key, &value)) {
            Py_INCREF(key);
            Py_INCREF(value);
            put_pair(b, tag, key, value);
            Py_DECREF(key);
            Py_DECREF(value);
        }
    else
        put_items(b, tag, attributes);
    Py_XDECREF(dict);
}

static void put_dropped(struct bytes *b, unsigned char tag, PyObject *of)
{
    if (b->failed)
        return;
    PyObject *dropped = of && of != Py_None ? get(of, DROPPED) : NULL;
    long n = 0;
    if (dropped)
        n = PyLong_AsLong(dropped);
    if (PyErr_Occurred())
        PyErr_Clear(); /* not a bounded one */
    if (n > 0) {
        put_tag(b, tag);
        put_varint(b, (uint64_t)n);
    }
    Py_XDECREF(dropped);
}

static uint64_t number(struct bytes *b, PyObject *o)
{
    uint64_t n = o && o != Py_None ? PyLong_AsUnsignedLongLongMask(o) : 0;
    if (!o || PyErr_Occurred())
        b->failed = 1;
    return n;
}

static uint64_t number_of(struct bytes *b, PyObject *o, enum name n)
{
    PyObject *value = get(o, n);
    uint64_t v = number(b, value);
    Py_XDECREF(value);
    return v;
}

static void put_id(struct bytes *b, unsigned char tag, PyObject *context, enum name which, int size)
{
    unsigned char out[16];
    if (b->failed)
        return;
    PyObject *id = get(context, which), *shift = NULL, *high = NULL;
    uint64_t low = number(b, id), upper = 0;
    if (size == 16 && id && (shift = PyLong_FromLong(64)) != NULL &&
        (high = PyNumber_Rshift(id, shift)) != NULL)
        upper = number(b, high);
    else if (size == 16)
        b->failed = 1;
    for (int i = 0; i < 8; i++) {
        out[size - 1 - i] = (unsigned char)(low >> (8 * i));
        if (size == 16)
            out[7 - i] = (unsigned char)(upper >> (8 * i));
    }
    put_tag(b, tag);
    put_varint(b, (uint64_t)size);
    put(b, out, (size_t)size);
    Py_XDECREF(high);
    Py_XDECREF(shift);
    Py_XDECREF(id);
}

static void put_trace_state(struct bytes *b, PyObject *context)
{
    PyObject *state = get(context, TRACE_STATE);
    int there = state ? PyObject_IsTrue(state) : -1;
    if (there < 0) {
        b->failed = 1;
    } else if (there) {
        PyObject *header = PyObject_CallMethodObjArgs(state, interned[TO_HEADER], NULL);
        put_text(b, 0x1a, header);
        Py_XDECREF(header);
    }
    Py_XDECREF(state);
}

static unsigned remote_flags(struct bytes *b, PyObject *context)
{
    if (context == Py_None)
        return 0x100;
    PyObject *remote = get(context, IS_REMOTE);
    int is = remote ? PyObject_IsTrue(remote) : -1;
    Py_XDECREF(remote);
    b->failed |= is < 0;
    return is > 0 ? 0x300 : 0x100;
}

static void put_event(struct bytes *b, PyObject *event)
{
    PyObject *attributes = get(event, PART_ATTRIBUTES), *name = PyObject_GetAttrString(event, "name");
    size_t from = begin(b, 0x5a);
    put_tag(b, 0x09);
    put_fixed(b, number_of(b, event, TIMESTAMP), 8);
    put_text(b, 0x12, name);
    put_attributes(b, 0x1a, attributes);
    put_dropped(b, 0x20, attributes);
    end(b, from);
    Py_XDECREF(name);
    Py_XDECREF(attributes);
}

static void put_link(struct bytes *b, PyObject *link)
{
    PyObject *attributes = get(link, PART_ATTRIBUTES), *context = get(link, LINK_CONTEXT);
    if (context) {
        size_t from = begin(b, 0x6a);
        put_id(b, 0x0a, context, TRACE_ID, 16);
        put_id(b, 0x12, context, SPAN_ID, 8);
        put_trace_state(b, context);
        put_attributes(b, 0x22, attributes);
        put_dropped(b, 0x28, attributes);
        put_tag(b, 0x35);
        put_fixed(b, remote_flags(b, context) | number_of(b, context, TRACE_FLAGS), 4);
        end(b, from);
    } else {
        b->failed = 1;
    }
    Py_XDECREF(context);
    Py_XDECREF(attributes);
}

static void put_each(struct bytes *b, PyObject *of, void (*one)(struct bytes *, PyObject *))
{
    PyObject *iterator = of && !b->failed ? PyObject_GetIter(of) : NULL, *part;
    b->failed |= !iterator;
    while (!b->failed && (part = PyIter_Next(iterator)) != NULL) {
        one(b, part);
        Py_DECREF(part);
    }
    b->failed |= PyErr_Occurred() != NULL;
    Py_XDECREF(iterator);
}

static void put_status(struct bytes *b, PyObject *status)
{
    PyObject *code = status ? get(status, STATUS_CODE) : NULL;
    uint64_t n = code ? number_of(b, code, VALUE) : 0;
    Py_XDECREF(code);
    if (!status || !code || n == 0) {
        b->failed |= !status || !code;
        return;
    }
    size_t from = begin(b, 0x7a);
    PyObject *text = get(status, DESCRIPTION);
    if (text && text != Py_None && PyObject_IsTrue(text) == 1)
        put_text(b, 0x12, text);
    b->failed |= !text;
    Py_XDECREF(text);
    put_tag(b, 0x18);
    put_varint(b, n);
    end(b, from);
}

static void put_span(struct bytes *b, PyObject *s)
{
    PyObject *context = get(s, CONTEXT), *parent = get(s, PARENT), *attributes = get(s, ATTRIBUTES),
             *events = get(s, EVENTS), *links = get(s, LINKS), *status = get(s, STATUS), *name = get(s, NAME),
             *kind = get(s, KIND);
    if (context && parent && attributes && events && links && status && name && kind) {
        uint64_t start = number_of(b, s, START), finish = number_of(b, s, END);
        size_t from = begin(b, 0x12);
        put_id(b, 0x0a, context, TRACE_ID, 16);
        put_id(b, 0x12, context, SPAN_ID, 8);
        put_trace_state(b, context);
        if (parent != Py_None)
            put_id(b, 0x22, parent, SPAN_ID, 8);
        put_text(b, 0x2a, name);
        put_tag(b, 0x30);
        put_varint(b, number_of(b, kind, VALUE) + 1);
        put_tag(b, 0x39);
        put_fixed(b, start, 8);
        put_tag(b, 0x41);
        put_fixed(b, finish < start ? start : finish, 8);
        put_attributes(b, 0x4a, attributes);
        put_dropped(b, 0x50, attributes);
        put_each(b, events, put_event);
        put_dropped(b, 0x60, events);
        put_each(b, links, put_link);
        put_dropped(b, 0x70, links);
        put_status(b, status);
        put_tag(b, 0x85);
        put_tag(b, 0x01);
        put_fixed(b, remote_flags(b, parent) | number_of(b, context, TRACE_FLAGS), 4);
        end(b, from);
    } else {
        b->failed = 1;
    }
    PyObject *all[] = {context, parent, attributes, events, links, status, name, kind};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        Py_XDECREF(all[i]);
}

static PyObject *span(PyObject *self, PyObject *s)
{
    (void)self;
    struct bytes b = {NULL, 0, 0, 0};
    grow(&b, 512);
    put_span(&b, s);
    PyObject *result = b.failed ? NULL : PyBytes_FromStringAndSize((const char *)b.p, (Py_ssize_t)b.len);
    PyMem_Free(b.p);
    if (!result && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "not a span of the SDK");
    return result;
}

static PyMethodDef methods[] = {{"span", span, METH_O, "Field 2 of a ScopeSpans."}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "forkspan._native", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *encode = PyImport_ImportModule("forkspan._encode");
    any_value = encode ? PyObject_GetAttrString(encode, "any_value") : NULL;
    Py_XDECREF(encode);
    if (!any_value)
        return NULL;
    for (int i = 0; i < NAMES; i++)
        if (!(interned[i] = PyUnicode_InternFromString(names[i])))
            return NULL;
    return PyModule_Create(&module);
}
