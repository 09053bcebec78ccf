/*
 * An app's kit, as far as it does not depend on where the app lies, and the snapshot that is
 * made of it.
 *
 *   app_kit.c        arguments, environment, volumes
 *   app_snapshot.c   a kit -> how its instances are started; the snapshot that they go on from
 */
#ifndef HUTCH_TOOLS_APP_KIT_H
#define HUTCH_TOOLS_APP_KIT_H

#include "serve/serve.h"

/* Room, and the program's name. What the app's module brings along is added by the caller
 * before mounts, and those before app_kit_finish. */
enum status app_kit_begin(struct serve_kit *kit, struct error *err) must_check;
/* The app's own arguments, volumes and variables. */
enum status app_kit_finish(struct serve_kit *kit, struct error *err) must_check;
enum status app_kit_variable(struct serve_kit *kit, const char *name, const char *value,
                             struct error *err) must_check;

/* When all of it is there: without the room for more, which is most of a kit. */
enum status app_kit_settle(struct serve_kit *kit, struct error *err) must_check;

/* How the app's instances are started, but for where requests come from. Borrows. */
void app_kit_config(const struct serve_kit *kit, struct tenant_config *ret_config);
/* For a snapshot that no secret may get into: secrets are empty (instaboot.secrets_at_resume).
 */
enum status app_kit_blank_secrets(struct serve_kit *kit, struct tenant_config *config,
                                  struct error *err) must_check;
/* The requests that warm the app up, each as the bytes that a tenant reads; where app.yaml
 * names none, one that is only for seeing what a first request touches. *ret_bytes lies in the
 * kit's arena; app_requests_finish in any case. */
struct app_requests {
    struct buffer *bytes;
    struct buffer *env; /* of each, for a CGI program: its variables, a NUL behind each */
    uint32_t count;
};
enum status app_requests_make(struct serve_kit *kit, struct app_requests *ret_requests,
                              struct error *err) must_check;
void app_requests_finish(struct app_requests *requests);
/* Runs the program and writes it out, as it waits for its next request. ret_fd: a memory file.
 */
enum status app_snapshot_make(struct serve_kit *kit, const struct tenant_config *config,
                              const struct app_requests *requests, int *ret_fd,
                              struct error *err) must_check;

#endif
