/*
 * Host errno to WASI errno. Every name preview1 knows is mapped to its namesake; EOPNOTSUPP is
 * ENOTSUP on Linux, EWOULDBLOCK is EAGAIN. What has no namesake is EIO.
 */
#include "runtime/wasi.h"

#include <errno.h>

enum wasi_errno wasi_errno_from_host(int host_errno) {
    switch (host_errno) {
    case 0: return WASI_OK;
#define WASI_ERRNO(name, number)                                                               \
    case E##name: return WASI_E##name;
#include "runtime/wasi_errno.def"
    default: return WASI_EIO;
    }
}

enum wasi_errno wasi_errno_last(void) { return errno ? wasi_errno_from_host(errno) : WASI_EIO; }
