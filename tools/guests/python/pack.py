"""Packs the standard library into one zip file that Python can import from.

    pack.py LIBRARY ZIP

Byte code lies beside its source as sourceless modules would (NAME.pyc), which is where zipimport
looks. Names are sorted and dates fixed: the same library gives the same bytes.
"""

import pathlib
import sys
import zipfile


def main() -> None:
    library, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(library.rglob("*")):
            if not path.is_file() or path.name == ".keep":
                continue
            name = path.relative_to(library)
            if name.parent.name == "__pycache__":
                name = name.parent.parent / f"{name.name.split('.')[0]}.pyc"
            entry = zipfile.ZipInfo(str(name), (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())


main()
