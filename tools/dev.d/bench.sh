# Benches: tests/bench/NAME.py writes build/bench/NAME.json and a plot, and prints a table.
# shellcheck shell=bash

command_bench() {
    local name=codegen
    case ${1:-} in
    '' | -*) ;;
    *)
        name=$1
        shift
        ;;
    esac
    [ -f "$root/tests/bench/$name.py" ] && [ "$name" != benchlib ] || die "no bench '$name'"
    # shellcheck disable=SC2086
    packages_need $packages_build $packages_wasm
    # shellcheck disable=SC2086
    [ "$name" != serve ] || packages_need $packages_serve
    # shellcheck disable=SC2086
    [ "$name" != coldstart ] || packages_need $packages_coldstart
    build_all
    export HUTCH="$hutch" HUTCH_BUILD_DIR="$build"
    exec "$python" "$root/tests/bench/$name.py" "$@"
}
