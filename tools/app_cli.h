/*
 * The commands of `hutch-app`, which `hutch` becomes: what people use beside the server. It
 * links YAML and JSON, which `hutch run` must not wait for.
 */
#ifndef HUTCH_TOOLS_APP_CLI_H
#define HUTCH_TOOLS_APP_CLI_H

#include "tools/bundle_cli.h"

int cmd_app(int argc, char **argv);   /* cmd_app.c */
int cmd_usage(int argc, char **argv); /* cmd_usage.c */
int cmd_top(int argc, char **argv);   /* cmd_top.c, top_status.c */

#endif
