# The demo: the main job on real input, with timings.
# shellcheck shell=bash

demo_now() { printf '%s' "${EPOCHREALTIME/[.,]/}"; } # microseconds

demo_seconds() { # MICROSECONDS
    printf '%d.%03d' $(($1 / 1000000)) $(($1 % 1000000 / 1000))
}

# demo_run COMMAND...: shows the command, runs it, leaves its microseconds in demo_took.
demo_run() {
    printf '\n$ %s\n' "${*//$root\//}"
    local start
    start=$(demo_now)
    "$@"
    demo_took=$(($(demo_now) - start))
}

demo_least() { # COMMAND...: the least time of five runs, in microseconds
    local i start took least=
    for i in 1 2 3 4 5; do
        start=$(demo_now)
        "$@" >/dev/null </dev/null
        took=$(($(demo_now) - start))
        if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
    done
    printf '%s' "$least"
}

demo_report() { # NAME WASM OBJECT COMPILE-US RUN-US WHAT START-US
    printf '\nWhat happened\n'
    printf '  %-38s %s MiB of WebAssembly\n' "$1" "$(demo_mib "$2")"
    printf '  %-38s %s s on %s processors\n' "compiled to native code in" "$(demo_seconds "$4")" "$(nproc)"
    printf '  %-38s %s MiB\n' "code object" "$(demo_mib "$3")"
    printf '  %-38s %s s\n' "ran in" "$(demo_seconds "$5")"
    printf '  %-38s %s s\n' "$6" "$(demo_seconds "$7")"
}

demo_mib() { # FILE
    local bytes
    bytes=$(stat -c %s "$1")
    printf '%d.%02d' $((bytes / 1048576)) $((bytes % 1048576 * 100 / 1048576))
}

demo_python() { # WASM FLAGS...
    local wasm=$1 object=$build/demo/python.hutch compile run start
    shift
    local guest=("$hutch" run --allow-precompiled "$@")
    demo_run "$hutch" compile --no-cache -o "$object" "$wasm"
    compile=$demo_took
    demo_run "${guest[@]}" --dir "$root/tools/dev.d/demo::/demo" "$object" /demo/demo.py
    run=$demo_took
    start=$(demo_least "${guest[@]}" "$object" -c pass)
    demo_report "CPython" "$wasm" "$object" "$compile" "$run" \
        "from start to end of an empty script" "$start"
}

demo_words() {
    local wasm=$build/demo/words.wasm object=$build/demo/words.hutch compile run start
    # shellcheck disable=SC2086
    packages_need $packages_wasm
    demo_run clang-22 --target=wasm32-wasi -Wno-deprecated -O2 -o "$wasm" \
        "$root/tests/integration/guests/words.c"
    demo_run "$hutch" compile --no-cache -o "$object" "$wasm"
    compile=$demo_took
    demo_run "$hutch" run --allow-precompiled "$object" <"$root/LICENSE"
    run=$demo_took
    start=$(demo_least "$hutch" run --allow-precompiled "$object")
    demo_report "a C program" "$wasm" "$object" "$compile" "$run" \
        "from start to end without input" "$start"
}

# demo_guest: the line of `tools/dev guests` of the CPython to show: our own build, which is made here
# if need be, else the one of the npm registry.
demo_guest() {
    local name line
    command_guests build python || say "CPython could not be built from Debian's sources."
    for name in cpython python; do
        # What else is missing does not matter here.
        line=$(command_guests | grep "^$name " || true)
        [ -z "$line" ] || break
    done
    printf '%s' "$line"
}

command_demo() {
    local line demo_took
    build_all
    mkdir -p "$build/demo"
    line=$(demo_guest)
    if [ -n "$line" ]; then
        # NAME PATH FLAGS... are words without quoting.
        # shellcheck disable=SC2086
        set -- $line
        shift
        demo_python "$@"
    else
        say "There is no CPython: a C program takes its place."
        demo_words
    fi
    printf '\nTry: %s inspect %s\n' "${hutch#"$PWD"/}" "${build#"$PWD"/}/demo/*.hutch"
}
