"""python -m hutch_asgi MODULE[:NAME]: serves an ASGI application under `hutch serve`. NAME is
`application`, if not given; `create_app()` calls a factory."""

import sys

from hutch_adapter import asgi, fresh, load

if __name__ == "__main__":
    fresh.prepare()
    asgi.main(load.application(sys.argv, "hutch_asgi"), load.exchanges())
