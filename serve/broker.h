/*
 * The broker's process: the only one that opens the store, apps' files and secrets.
 */
#ifndef HUTCH_SERVE_BROKER_H
#define HUTCH_SERVE_BROKER_H

#include "serve/serve.h"

/* Reads the apps, then serves the links until the supervisor is gone. ST_INVALID and others:
 * the apps cannot be read. */
enum status broker_run(const struct serve_options *options, int control_fd,
                       struct error *err) must_check;

#endif
