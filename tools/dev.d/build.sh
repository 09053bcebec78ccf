# Configure, build, format.
# shellcheck shell=bash

build_configure() { # DIR MESON-OPTIONS...
    local dir=$1
    shift
    # shellcheck disable=SC2086
    packages_need $packages_build
    if [ ! -f "$dir/build.ninja" ]; then
        /usr/bin/meson setup "$dir" "$root" "$@" >&2
    fi
}

build_all() {
    # Warnings are errors here: the compiler is Debian 12's, so a warning is always ours.
    build_configure "$build" -Dwerror=true
    ninja -C "$build" >&2
    [ -x "$hutch" ] || die "the build left no $hutch"
}

command_build() {
    build_all
    say "built $hutch"
}

command_format() {
    local mode=-i
    case ${1:-} in
    '') ;;
    --check) mode=--dry-run ;;
    *) die "format takes --check or nothing" ;;
    esac
    # shellcheck disable=SC2086
    packages_need $packages_format
    cd "$root"
    # .def files are tables, laid out by hand.
    git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' |
        xargs -0 -r clang-format-22 --Werror "$mode"
}
