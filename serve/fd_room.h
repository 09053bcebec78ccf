/*
 * fd_room: when descriptors run short (RLIMIT_NOFILE). The last ones are kept for what has
 * begun: a tenant that is being forked comes with a descriptor, and one that is lost on the way
 * cannot be asked for again. Those before are kept for clients, who are not to wait for
 * instances that are idle.
 */
#ifndef HUTCH_SERVE_FD_ROOM_H
#define HUTCH_SERVE_FD_ROOM_H

#include "base/base.h"

enum fd_use {
    FD_FOR_CLIENT = 1,
    FD_FOR_TENANT = 2
};
/* Whether there are too few for that use, when as many as promised will be wanted, too. */
bool fd_room_is_short(enum fd_use use, uint32_t promised);
/* "out of file descriptors: ...", with the limit and what moves it. */
const char *fd_room_text(char ret_text[160]);

#endif
