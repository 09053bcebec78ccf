# The test suites. tests/run knows how to run and count each; this finds the official ones' files.
# shellcheck shell=bash

# suites_vectors VARIABLE NAME: the suite lies at $VARIABLE or in ../shared/vectors beside the
# checkout, as a directory or a .tar.zst, which is unpacked under the build directory. Exports
# VARIABLE as a directory, or leaves it unset: the suite then fails and says why.
suites_vectors() {
    local variable=$1 name=$2 source unpacked
    source=${!variable:-}
    [ -n "$source" ] || source=$(dirname "$root")/shared/vectors/$name.tar.zst
    if [ -f "$source" ]; then
        unpacked=$build/vectors/$name
        if [ ! -f "$unpacked/.complete" ] || [ "$source" -nt "$unpacked/.complete" ]; then
            packages_need zstd
            rm -rf "$unpacked"
            mkdir -p "$unpacked"
            zstd -dcq "$source" | tar -xf - -C "$unpacked" --strip-components=1
            touch "$unpacked/.complete"
        fi
        source=$unpacked
    fi
    if [ -d "$source" ]; then
        export "$variable=$source"
    elif [ -n "${!variable:-}" ]; then
        die "$variable=${!variable}: no such directory or .tar.zst"
    fi
}

suites_prepare() {
    # shellcheck disable=SC2086
    packages_need $packages_build $packages_test
    build_all
    suites_vectors HUTCH_SPEC_TESTS spec-testsuite
    suites_vectors HUTCH_WASI_TESTS wasi-testsuite-p1
    export HUTCH="$hutch" HUTCH_BUILD_DIR="$build"
}

command_test() {
    suites_prepare
    cd "$root"
    exec "$python" tests/run "$@"
}

# One suite with its own arguments and all of its output.
command_suite() {
    local suite=$1
    shift
    suites_prepare
    cd "$root"
    exec "$python" tests/run --verbose "$suite" -- "$@"
}

# fuzz diff SECONDS [FIRST-SEED]: random modules at all levels, in both placements, with a profile
# and without, must do the same.
fuzz_diff() {
    case ${1:-60}${2:-} in
    *[!0-9]*) die "fuzz diff takes a number of seconds and a first seed" ;;
    esac
    build_all
    exec "$build/tests/fuzz/differ_random" "${1:-60}" ${2:+"$2"}
}

command_soak() {
    suites_prepare
    exec "$python" "$root/tests/serve/soak.py" --seconds "${1:-120}"
}

command_fuzz() {
    if [ "${1:-}" = diff ]; then
        shift
        fuzz_diff "$@"
    fi
    local seconds=${1:-60}
    case $seconds in
    '' | *[!0-9]*) die "fuzz takes a number of seconds" ;;
    esac
    # shellcheck disable=SC2086
    packages_need $packages_build $packages_fuzz
    local dir=$root/build-fuzz harness name failed=0 count=0 targets
    CC=clang-22 build_configure "$dir" -Dfuzz=true -Db_lundef=false \
        -Db_sanitize=address,undefined
    targets=$(ninja -C "$dir" -t targets all | sed -n 's/^\(tests\/fuzz\/fuzz_[a-z_]*\): .*/\1/p')
    [ -n "$targets" ] || die "there is no fuzzer"
    # shellcheck disable=SC2086 # a list of words
    ninja -C "$dir" tests/fuzz/seeds $targets >&2
    for name in $targets; do
        harness=$dir/$name
        name=$(basename "$name")
        count=$((count + 1))
        # What it finds worth keeping stays in the first directory; the others are only read.
        mkdir -p "$dir/corpus/$name" "$dir/crashes"
        local corpora=("$dir/corpus/$name" "$dir/tests/fuzz/seeds")
        [ ! -d "$root/tests/fuzz/corpus/$name" ] || corpora+=("$root/tests/fuzz/corpus/$name")
        say "== $name for $seconds s"
        "$harness" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 -max_len=8000 \
            -print_final_stats=1 -artifact_prefix="$dir/crashes/$name-" "${corpora[@]}" ||
            failed=$((failed + 1))
    done
    printf '%d passed, %d failed\n' "$((count - failed))" "$failed"
    [ "$failed" -eq 0 ]
}
