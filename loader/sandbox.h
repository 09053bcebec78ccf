/*
 * sandbox: what holds a tenant's process, layer by layer. Private to loader, but for the tests.
 *
 *   zygote.c    the processes: guard, zygote, tenants
 *   zygote_place.c    where in the address space they lie
 *   sandbox.c   the layers that the zygote puts on once and tenants inherit, and those that
 *               each tenant puts on itself
 *   seccomp.c   seccomp.def to a filter
 *   spare.c     what is made present in a tenant before it has an app
 *   tenant.c    what a sealed tenant does
 *   volume_holder.c   the process that holds a persistent volume, for tenants to ask
 */
#ifndef HUTCH_LOADER_SANDBOX_H
#define HUTCH_LOADER_SANDBOX_H

#include "loader/tenant_protocol.h"

#include <sys/types.h>

struct sandbox {
    struct zygote_options options;
    bool root;       /* whoever started us was root */
    uint32_t layers; /* bit i: layer i holds */
    /* The zygote's alone; closed in tenants. -1: none. */
    int proc_fd;     /* /proc of whoever started us, for a tenant's own page map */
    int landlock_fd; /* a ruleset that allows nothing */
};

/* In the zygote, single-threaded, with no descriptor open that a tenant must not have. What the
 * kernel or missing rights do not allow is left out and its bit not set. */
void sandbox_enter_zygote(struct sandbox *sandbox);
/* The maps of a user namespace that process has just entered; from outside of it. */
bool sandbox_map_users(const struct sandbox *sandbox, pid_t process);
/* In a new tenant: its uid, no capabilities, the filter. From here on only seccomp.def. Ends
 * the process where a layer that the zygote's rights promise does not hold. */
void sandbox_enter_tenant(struct sandbox *sandbox, uint32_t slot);

/* Installs the filter of seccomp.def; errno where that fails. */
int seccomp_enter(void);
/* Makes it ready for the processes that are forked from here on. */
void seccomp_prepare(void);
/* That of volume_seccomp.def, for the holder of a volume. */
int seccomp_enter_volume(void);
/* Numbers of the calls that the filter allows, into ret (room for 64). For the tests. */
uint32_t seccomp_allowed(int *ret_numbers);

/* Goes on at entry, with argument, on another stack (begin_x86_64.S). */
_Noreturn void begin_at(uintptr_t stack, uintptr_t entry, uintptr_t argument)
    __attribute__((visibility("hidden")));

/* In a new tenant: pages that every start touches are made present, while nobody waits. */
void spare_touch(void);
/* In a tenant that waits: whole pages that lie within are dropped, and are zero then; the
 * stack's below the caller. */
void spare_drop(void *from, size_t size_bytes);
void spare_drop_stack(void);
/* What a sealed tenant does with its control socket. */
_Noreturn void tenant_main(uint32_t layers);

#endif
