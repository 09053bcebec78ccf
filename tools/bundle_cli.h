/*
 * What the commands bundle, import, key and inspect share about bundles.
 *
 *   bundle_target.c  a code object <-> what a bundle says of it
 *   bundle_image.c   a file or a directory -> an image for a bundle
 *   trust_places.c   where the trusted keys lie
 *   cmd_bundle.c, cmd_import.c, cmd_key.c, inspect_bundle.c   a command each
 *   hutch_bundle.c   main
 */
#ifndef HUTCH_TOOLS_BUNDLE_CLI_H
#define HUTCH_TOOLS_BUNDLE_CLI_H

#include "cache/cache.h"
#include "tools/arguments.h"

#include <jansson.h>

/* ---- bundle_target.c ---- */
void bundle_target_of(const struct abi_compat *compat, struct bundle_target *ret_target);
/* struct bundle_callbacks.check_object; the context is not used. */
enum status bundle_object_check(void *context, const uint8_t *bytes, uint64_t size_bytes,
                                const struct bundle_target *claimed, bool *ret_fits,
                                struct error *reason, struct error *err);
/* struct bundle_callbacks.check_snapshot, likewise. */
enum status bundle_snapshot_check(void *context, int snapshot_fd, const uint8_t *object,
                                  uint64_t object_size, const struct bundle_target *claimed,
                                  bool *ret_fits, struct error *reason, struct error *err);

/* ---- bundle_image.c ---- */
/* A file image, checked, or one made of the directory at path. */
enum status bundle_image_open(const char *path, int *ret_fd, struct error *err) must_check;

/* ---- trust_places.c ---- */
#define TRUST_PLACES_MAX 4u
/*
 * The directories: --trust-dir where given, else $HUTCH_TRUST_DIR, else the user's
 * ($XDG_CONFIG_HOME/hutch/trust.d, ~/.config/hutch/trust.d; not for root) and
 * /etc/hutch/trust.d. Changes go to the first.
 */
struct trust_places {
    char paths[TRUST_PLACES_MAX][4096];
    uint32_t count;
};
enum status trust_places_find(const char *option, struct trust_places *ret_places,
                              struct error *err) must_check;
enum status trust_places_load(const struct trust_places *places, struct trust *trust,
                              struct error *err) must_check;

/* ---- the commands of hutch-bundle: exit statuses ---- */
int cmd_bundle(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_key(int argc, char **argv);
/* hutch inspect, of a bundle: prints what it holds; every digest is checked. */
int cmd_inspect_bundle(int argc, char **argv);

#endif
