"""What is in a snapshot, out of the garbage collector's sight.

A full collection writes to the header of every object it knows, and with that copies every page
of the snapshot that has objects, for each instance (docs/snapshot.md has figures). After a warm-up
request what is garbage goes, and what stays is not looked at again (gc.freeze); an instance's own
objects are collected as ever.
"""

import gc

WARM_UP = "HTTP_X_EDGE_INSTABOOT"  # the server gives it to warm-up requests alone


def after_warm_up():
    gc.collect()
    gc.freeze()
