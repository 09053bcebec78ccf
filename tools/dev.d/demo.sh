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

# demo_app DIR: the demo's Flask application with its app.yaml, on the guests that are there.
demo_app() {
    local line python= python_image= site_image= place=$1
    while read -r line; do
        # shellcheck disable=SC2086 # NAME PATH --image FILE::PATH..., words without quoting
        set -- $line
        case $1 in
        cpython) python=$2 python_image=${4%%::*} ;;
        flask) site_image=${4%%::*} ;;
        esac
    done < <(command_guests)
    [ -n "$python" ] && [ -n "$site_image" ] || return 1
    rm -rf "$place"
    mkdir -p "$place/code"
    cp "$root/tools/dev.d/demo/flask/app.py" "$place/code"
    cat >"$place/app.yaml" <<YAML
name: guestbook
module: $python
interface: fastcgi
args: [-m, hutch_wsgi, "app:app"]
env: {PYTHONPATH: "/hutch:/code:/site"}
mounts:
  /usr: $python_image
  /site: $site_image
  /code: code
  /hutch: $root/adapters/python
routes: [/guestbook]
limits: {memory: 128M, instances: 4}
reuse: keep
instaboot: {requests: [{path: /}]}
YAML
}

demo_wait_ready() { # LOG PID
    local i
    for ((i = 0; i < 1200; i++)); do
        ! grep -q ': ready$' "$1" || return 0
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# CPython and a Flask application: bundled and signed in one place, imported and served in another.
demo_serve() {
    local place=$build/demo/serve pid port
    if ! command_guests build python flask || ! demo_app "$build/demo/guestbook"; then
        say "CPython and Flask cannot be built from Debian's packages here: nothing is served."
        return 0
    fi
    rm -rf "$place"
    mkdir -p "$place"
    demo_run "$hutch" app check "$build/demo/guestbook"
    demo_run "$hutch" key generate -o "$place/ci"
    # -O fast: seconds instead of minutes for CPython. A release has time for the default.
    export HUTCH_CACHE_DIR=$build/demo/cache-ci
    demo_run "$hutch" bundle -O fast --sign "$place/ci.key" -o "$place/guestbook.tar" "$build/demo/guestbook"
    printf '  %s s\n' "$(demo_seconds "$demo_took")"
    export HUTCH_CACHE_DIR=$place/cache-node HUTCH_TRUST_DIR=$place/trust
    demo_run "$hutch" key trust "$place/ci.pub"
    demo_run "$hutch" import "$place/guestbook.tar"
    printf '  %s s\n' "$(demo_seconds "$demo_took")"
    # The same program with a new process for each request: to see what a start takes.
    local kind
    for kind in cold snapshot; do
        cat >"$place/$kind.yaml" <<YAML
name: $kind
module: guestbook:latest
interface: fastcgi
routes: [/$kind]
limits: {memory: 128M}
reuse: fresh
instaboot: $([ $kind = snapshot ] && printf '{requests: [{path: /}]}' || printf false)
YAML
    done
    printf '\n$ %s serve guestbook:latest cold.yaml snapshot.yaml\n' "${hutch//$root\//}"
    "$hutch" serve -O fast --listen 127.0.0.1:0 --admin "unix:$place/admin.sock" --state-dir "$place/state" \
        --access-log off guestbook:latest "$place/cold.yaml" "$place/snapshot.yaml" >"$place/log" 2>&1 &
    pid=$!
    # shellcheck disable=SC2064 # the value of now
    trap "kill $pid 2>/dev/null" EXIT
    if ! demo_wait_ready "$place/log" "$pid"; then
        cat "$place/log" >&2
        die "the server does not come up"
    fi
    port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\) (HTTP)$/\1/p' "$place/log")
    "$root/tools/dev.d/demo/serve.py" "$hutch" "$port" "unix:$place/admin.sock" "$place/state" ||
        { cat "$place/log" >&2; die "the server's answer is not what it should be"; }
    kill "$pid"
    wait "$pid" || die "the server did not end well: $(tail -n 5 "$place/log")"
    trap - EXIT
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
    demo_serve
    printf '\nTry: %s inspect %s\n' "${hutch#"$PWD"/}" "${build#"$PWD"/}/demo/*.hutch"
}
