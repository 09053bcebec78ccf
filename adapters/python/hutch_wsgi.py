"""python -m hutch_wsgi MODULE[:NAME]: serves a WSGI application under `hutch serve`. NAME is
`application`, if not given; `create_app()` calls a factory."""

import sys

from hutch_adapter import fresh, load, wsgi

if __name__ == "__main__":
    fresh.prepare()
    wsgi.main(load.application(sys.argv, "hutch_wsgi"), load.exchanges())
