/*
 * _hutch: what a program needs to answer requests under `hutch serve`, as an extension module
 * of the CPython that tools/guests/build-python builds.
 *
 *     accept(fd, nonblock=False) -> connection      the next request of a listening descriptor;
 *                                                   nonblock is about the connection
 *     recv(fd, size, peek=False) -> bytes            b"" once the other side has ended
 *     send(fd, data) -> size                         at most what the socket takes now
 *     shutdown(fd, how)                              0 receiving, 1 sending, 2 both
 *     environ() -> bytes                             "NAME=VALUE" and a 0 byte each, as the
 * host has them now: others than at the start, where secrets come with a resume
 *
 * Descriptors are plain numbers: os.read, os.write and os.close work on them too, and
 * socket.socket(fileno=...) wraps one. Each function is one WASI call, on the descriptor
 * itself, so nothing is allocated, buffered or remembered between accept() and the next
 * request: it is where a snapshot is taken. Errors are OSError with WASI's errno; a call that a
 * signal interrupts is made again.
 */
#include <Python.h>

#include <errno.h>
#include <wasi/api.h>

static PyObject *fail(__wasi_errno_t error) {
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Whether a call is to be made again; if not, an exception may be set. */
static int interrupted(__wasi_errno_t error) {
    return error == __WASI_ERRNO_INTR && PyErr_CheckSignals() == 0;
}

static PyObject *hutch_accept(PyObject *Py_UNUSED(module), PyObject *arguments,
                              PyObject *keywords) {
    static char *names[] = {"fd", "nonblock", NULL};
    int fd = -1, nonblock = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "i|p:accept", names, &fd, &nonblock))
        return NULL;
    __wasi_fd_t connection = 0;
    __wasi_fdflags_t flags = nonblock ? __WASI_FDFLAGS_NONBLOCK : 0;
    __wasi_errno_t error = 0;
    do {
        Py_BEGIN_ALLOW_THREADS;
        error = __wasi_sock_accept(fd, flags, &connection);
        Py_END_ALLOW_THREADS;
    } while (interrupted(error));
    if (PyErr_Occurred()) return NULL;
    return error ? fail(error) : PyLong_FromLong(connection);
}

static PyObject *hutch_recv(PyObject *Py_UNUSED(module), PyObject *arguments,
                            PyObject *keywords) {
    static char *names[] = {"fd", "size", "peek", NULL};
    int fd = -1, peek = 0;
    Py_ssize_t size = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "in|p:recv", names, &fd, &size,
                                     &peek))
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "recv: the size is negative");
        return NULL;
    }
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    if (!result) return NULL;
    __wasi_iovec_t piece = {.buf = (uint8_t *)PyBytes_AS_STRING(result),
                            .buf_len = (__wasi_size_t)size};
    __wasi_size_t received = 0;
    __wasi_roflags_t flags = 0;
    __wasi_errno_t error = 0;
    do {
        Py_BEGIN_ALLOW_THREADS;
        error = __wasi_sock_recv(fd, &piece, 1, peek ? __WASI_RIFLAGS_RECV_PEEK : 0, &received,
                                 &flags);
        Py_END_ALLOW_THREADS;
    } while (interrupted(error));
    if (error || PyErr_Occurred()) {
        Py_DECREF(result);
        return PyErr_Occurred() ? NULL : fail(error);
    }
    _PyBytes_Resize(&result, (Py_ssize_t)received); /* leaves NULL where it fails */
    return result;
}

static PyObject *hutch_send(PyObject *Py_UNUSED(module), PyObject *arguments) {
    int fd = -1;
    Py_buffer data;
    if (!PyArg_ParseTuple(arguments, "iy*:send", &fd, &data)) return NULL;
    __wasi_ciovec_t piece = {.buf = data.buf, .buf_len = (__wasi_size_t)data.len};
    __wasi_size_t sent = 0;
    __wasi_errno_t error = 0;
    do {
        Py_BEGIN_ALLOW_THREADS;
        error = __wasi_sock_send(fd, &piece, 1, 0, &sent);
        Py_END_ALLOW_THREADS;
    } while (interrupted(error));
    PyBuffer_Release(&data);
    if (PyErr_Occurred()) return NULL;
    return error ? fail(error) : PyLong_FromSize_t(sent);
}

static PyObject *hutch_shutdown(PyObject *Py_UNUSED(module), PyObject *arguments) {
    static const __wasi_sdflags_t sides[] = {__WASI_SDFLAGS_RD, __WASI_SDFLAGS_WR,
                                             __WASI_SDFLAGS_RD | __WASI_SDFLAGS_WR};
    int fd = -1, how = 0;
    if (!PyArg_ParseTuple(arguments, "ii:shutdown", &fd, &how)) return NULL;
    if (how < 0 || how > 2) {
        PyErr_SetString(PyExc_ValueError, "shutdown: how is 0, 1 or 2");
        return NULL;
    }
    __wasi_errno_t error = __wasi_sock_shutdown(fd, sides[how]);
    if (error) return fail(error);
    Py_RETURN_NONE;
}

static PyObject *hutch_environ(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing)) {
    __wasi_size_t count = 0, size = 0;
    __wasi_errno_t error = __wasi_environ_sizes_get(&count, &size);
    if (error) return fail(error);
    uint8_t **pointers = PyMem_New(uint8_t *, (size_t)count + 1);
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (pointers && result) {
        error = __wasi_environ_get(pointers, (uint8_t *)PyBytes_AS_STRING(result));
    } else if (!pointers) {
        PyErr_NoMemory();
    }
    PyMem_Free(pointers);
    if (!error && !PyErr_Occurred()) return result;
    Py_XDECREF(result);
    return PyErr_Occurred() ? NULL : fail(error);
}

static PyMethodDef methods[] = {
    {"accept", (PyCFunction)(void (*)(void))hutch_accept, METH_VARARGS | METH_KEYWORDS,
     "accept(fd, nonblock=False): the connection of the next request, a descriptor (that does "
     "not block)"},
    {"recv", (PyCFunction)(void (*)(void))hutch_recv, METH_VARARGS | METH_KEYWORDS,
     "recv(fd, size, peek=False): up to size bytes; none once the other side has ended"},
    {"send", hutch_send, METH_VARARGS, "send(fd, data): how many bytes the socket took"},
    {"shutdown", hutch_shutdown, METH_VARARGS,
     "shutdown(fd, how): ends receiving (0), sending (1) or both (2)"},
    {"environ", hutch_environ, METH_NOARGS,
     "environ(): the environment as the host has it now, NAME=VALUE and a 0 byte each"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_hutch",
    .m_doc = "Requests of hutch serve: connections as descriptors.",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__hutch(void) { return PyModuleDef_Init(&module); }
