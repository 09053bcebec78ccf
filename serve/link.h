/*
 * What the server's own processes say to each other: packets (SOCK_SEQPACKET) of a header and
 * descriptors. All of it comes from our own processes; lengths are checked anyway.
 *
 *   supervisor -> front, broker   LINK_PEER, one descriptor: the link to the other of the two
 *   supervisor -> broker          LINK_RELOAD
 *   supervisor -> front           LINK_REOPEN (logs), LINK_DRAIN
 *   front -> supervisor           LINK_READY (the first apps are served), LINK_RELOADED
 *   broker -> supervisor          LINK_FAILED (the apps cannot be read; said why)
 *   front -> broker               LINK_MEND: the holder of a volume has ended, kits are needed
 *   broker -> front               LINK_KIT for each app, then LINK_KITS_END
 */
#ifndef HUTCH_SERVE_LINK_H
#define HUTCH_SERVE_LINK_H

#include "serve/serve.h"

enum link_type {
    LINK_PEER = 1,
    LINK_RELOAD,
    LINK_REOPEN,
    LINK_DRAIN,
    LINK_READY,
    LINK_RELOADED,
    LINK_FAILED,
    LINK_KIT,
    LINK_KITS_END,
    LINK_MEND
};
#define LINK_MAX_FDS 128u
struct link_message {
    uint32_t type;
    uint32_t fd_count;
    int fds[LINK_MAX_FDS]; /* received ones are the receiver's */
};

enum status link_send(int fd, enum link_type type, const int *fds, uint32_t fd_count,
                      struct error *err) must_check;
/* ST_OK; ST_NOT_FOUND: the other end is closed; ST_LIMIT: there is none now (non-blocking);
 * ST_NO_MEMORY: one has come, and this process had no descriptors left for its own. */
enum status link_receive(int fd, struct link_message *ret_message,
                         struct error *err) must_check;
void link_close_fds(struct link_message *message);

/* ---- kit.c ---- */
enum status kit_send(int fd, const struct serve_kit *kit, struct error *err) must_check;
/* Takes the message's descriptors over. */
enum status kit_receive(struct link_message *message, struct serve_kit *ret_kit,
                        struct error *err) must_check;
/* Whether two kits are the same: nothing has to be done on reload. */
bool kit_equal(const struct serve_kit *a, const struct serve_kit *b);

#endif
