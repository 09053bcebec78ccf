/*
 * The commands of `hutch-app`, which `hutch` becomes: what people use beside the server. It
 * links YAML and JSON, which `hutch run` must not wait for.
 */
#ifndef HUTCH_TOOLS_APP_CLI_H
#define HUTCH_TOOLS_APP_CLI_H

#include "tools/bundle_cli.h"

int cmd_app(int argc, char **argv);

#endif
