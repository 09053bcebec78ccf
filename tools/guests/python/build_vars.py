"""Copies what CPython's build remembers of itself (_sysconfigdata), with another path for the place.

    build_vars.py FROM TO PLACE NEW-PLACE

The file is written anew rather than edited: its lines are broken by length, and so by the length of
the place.
"""

import pprint
import runpy
import sys


def main() -> None:
    source, target, place, new_place = sys.argv[1:]
    variables = runpy.run_path(source)["build_time_vars"]
    renamed = {name: value.replace(place, new_place) if isinstance(value, str) else value
               for name, value in variables.items()}
    with open(target, "w", encoding="utf-8") as file:
        file.write(f"build_time_vars = {pprint.pformat(renamed)}\n")


main()
