/*
 * What the backends share. They see an exchange's inside.
 */
#ifndef HUTCH_SERVE_BACKEND_H
#define HUTCH_SERVE_BACKEND_H

#include "serve/exchange_state.h"

/* Reads a CGI answer, head and then body, as far as the client has room. */
void backend_read_answer(struct exchange *x, struct evbuffer *from);

#endif
