/*
 * Telling systemd how things are (sd_notify(3)): nothing is done where $NOTIFY_SOCKET is unset.
 */
#ifndef HUTCH_SERVE_NOTIFY_H
#define HUTCH_SERVE_NOTIFY_H

/* "READY=1", "STOPPING=1\nSTATUS=...". */
void notify(const char *state);
/* RELOADING=1 with the monotonic time, as Type=notify-reload wants it. */
void notify_reloading(void);

#endif
