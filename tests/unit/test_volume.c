/*
 * Volumes from within: after any calls at all the accounts are what a walk over the directory
 * counts, and messages of any bytes are answered or end the session. The calls themselves are
 * tested by the official suite (tests/wasi, kind volume), the processes by tests/serve.
 */
#include "runtime/volume.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;
static uint32_t chance(uint32_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

static char place[] = "/tmp/hutch-volume-XXXXXX";

static struct volume *open_volume(void) {
    struct error err = {0};
    struct volume *v = NULL;
    int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT(fd >= 0 && volume_open(fd, &v, &err) == ST_OK);
    return v;
}

/* ---- accounts ---------------------------------------------------------------------------- */

static struct volume_request random_request(struct volume *v, uint32_t length) {
    static const char *const names[] = {"a", "b", "c",  "d/e", "d",    "d/f",   "./a",
                                        "l", "m", "d/", "a/",  "d/..", "d/../b"};
    struct volume_request r = {.function =
                                   chance(4) ? chance(VOLUME_FUNCTION_COUNT) : VOLUME_OPEN};
    char *at = (char *)v->memory + VOLUME_PAYLOAD;
    const char *one = names[chance(countof(names))], *other = names[chance(countof(names))];
    r.a[0] = VOLUME_ROOT + 1 + chance(3);
    switch (r.function) {
    case VOLUME_RESTART: r.function = chance(20) ? VOLUME_MKDIR : VOLUME_RESTART; break;
    case VOLUME_SEEK:
        r.a[1] = chance(100000), r.a[2] = chance(3), r.a[3] = WASI_PREVIEW1;
        break;
    case VOLUME_WRITE:
    case VOLUME_PWRITE: r.payload_bytes = chance(length), r.a[1] = chance(200000); return r;
    case VOLUME_SET_SIZE: r.a[1] = chance(200000); break;
    case VOLUME_ALLOCATE: r.a[1] = chance(100000), r.a[2] = 1 + chance(100000); break;
    case VOLUME_SET_FLAGS: r.a[1] = chance(2); break;
    case VOLUME_SET_RIGHTS: r.function = VOLUME_TELL; break;
    case VOLUME_OPEN:
        r.a[1] = chance(2), r.a[2] = chance(3) ? WASI_OFLAG_CREAT : chance(16),
        r.a[5] = chance(4) ? 0 : 1;
        r.a[3] = r.a[4] = WASI_RIGHTS_ALL;
        break;
    default: break;
    }
    if (r.function >= VOLUME_OPEN) r.a[0] = VOLUME_ROOT;
    bool two = r.function == VOLUME_SYMLINK || r.function == VOLUME_LINK ||
               r.function == VOLUME_RENAME;
    r.payload_bytes = (uint32_t)snprintf(at, 100, "%s%s", one, two ? other : "");
    if (r.function == VOLUME_SYMLINK) r.a[1] = strlen(one);
    if (r.function == VOLUME_LINK || r.function == VOLUME_RENAME)
        r.a[1] = 3, r.a[2] = strlen(one), r.a[3] = 0;
    return r;
}

static bool same_as_a_walk(const struct volume *v) {
    struct volume *again = open_volume();
    bool same = again->used_bytes == v->used_bytes && again->used_names == v->used_names;
    if (!same)
        fprintf(stderr, "    kept %llu bytes, %llu names; there are %llu, %llu\n",
                (unsigned long long)v->used_bytes, (unsigned long long)v->used_names,
                (unsigned long long)again->used_bytes, (unsigned long long)again->used_names);
    volume_close(again);
    return same;
}

static void accounts_are_what_is_there(void) {
    struct error err = {0};
    struct volume *v = open_volume();
    volume_set_limits(v, &(struct volume_limits){.bytes = 400000, .names = 7, .files = 5});
    struct volume_session *sessions[2];
    for (int i = 0; i < 2; i++) EXPECT(volume_session_open(v, &sessions[i], &err) == ST_OK);
    bool within = true, same = true;
    uint32_t done = 0;
    for (int i = 0; i < 12000 && within && same; i++) {
        struct volume_request r = random_request(v, VOLUME_CHUNK);
        done += volume_account_call(sessions[chance(2)], &r) == WASI_OK;
        within = v->used_bytes <= v->limit_bytes && v->used_names <= v->limit_names;
        if (!within)
            printf("call %d, function %u: %llu bytes, %llu names\n", i, r.function,
                   (unsigned long long)v->used_bytes, (unsigned long long)v->used_names);
        if (i % 100 != 99) continue;
        /* Files without a name are not found by a walk: they go with the sessions. */
        for (int k = 0; k < 2; k++) volume_close_files(sessions[k]);
        same = same_as_a_walk(v);
    }
    EXPECT(within);
    EXPECT(same);
    EXPECT(done > 1000);
    volume_close(v);
}

/* ---- messages ---------------------------------------------------------------------------- */

static void hostile_messages(void) {
    struct error err = {0};
    struct volume *v = open_volume();
    volume_set_limits(v, &(struct volume_limits){.bytes = 1 << 20, .files = 5});
    uint32_t ended = 0, answered = 0;
    for (int i = 0; i < 3000; i++) {
        int ends[2];
        struct volume_session *s = NULL;
        EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        EXPECT(volume_session_open(v, &s, &err) == ST_OK);
        struct {
            struct volume_request r;
            uint8_t rest[200];
        } m;
        for (size_t b = 0; b < sizeof m.rest; b++) m.rest[b] = (uint8_t)chance(256);
        uint32_t extra = chance(sizeof m.rest);
        m.r.function = chance(VOLUME_FUNCTION_COUNT + 2);
        m.r.payload_bytes = chance(4) ? extra : (uint32_t)state;
        for (int k = 0; k < 6; k++) {
            const uint64_t values[] = {chance(8),  chance(300), VOLUME_CHUNK, UINT32_MAX,
                                       UINT64_MAX, state,       INT64_MAX,    extra};
            m.r.a[k] = values[chance(countof(values))];
        }
        size_t size = chance(20) ? sizeof m.r + extra : chance(sizeof m.r);
        EXPECT(send(ends[0], &m, size, MSG_NOSIGNAL) == (ssize_t)size);
        bool stays = volume_session_serve(s, ends[1]);
        static uint8_t answer[VOLUME_CHUNK + 100];
        ssize_t got = recv(ends[0], answer, sizeof answer, MSG_DONTWAIT);
        struct volume_reply reply = {0};
        if (got > 0) memcpy(&reply, answer, sizeof reply);
        EXPECT(stays == (got >= (ssize_t)sizeof reply));
        EXPECT(!stays || reply.payload_bytes == (size_t)got - sizeof reply);
        ended += !stays, answered += stays;
        volume_session_close(s);
        close(ends[0]), close(ends[1]);
    }
    EXPECT(ended > 100 && answered > 100);
    volume_close(v);
}

int main(void) {
    umask(077);
    EXPECT(mkdtemp(place) != NULL);
    accounts_are_what_is_there();
    hostile_messages();
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", place);
    EXPECT(system(command) == 0);
    return test_end();
}
