# Debian packages: what each command needs, installed only where missing.
# shellcheck shell=bash

# LLVM 22 comes from Debian 12's security updates, which its default sources include.
packages_build="gcc libc6-dev meson ninja-build pkg-config llvm-22-dev libelf-dev libzstd-dev
    libssl-dev libarchive-dev libjansson-dev liblmdb-dev libyaml-dev libevent-dev libhttp-parser-dev libseccomp-dev python3 zstd"
packages_wasm="clang-22 lld-22 wasi-libc libclang-rt-22-dev-wasm32"
packages_test="$packages_wasm wabt python3-lmdb php-cli ruby ruby-rack sqlite3 binutils elfutils gdb skopeo
    docker-registry erofs-utils strace openssl nginx-light prometheus systemd curl python3-jsonschema
    python3-yaml libstd-rust-dev-wasm32"
packages_guests="$packages_wasm llvm-22 python3.11 tcl dpkg-dev make gcc libc6-dev xz-utils patch"
packages_serve="wrk gunicorn python3-flask php-fpm nginx-light"
packages_coldstart="ruby php-cgi php-xml"
packages_fuzz="clang-22 libclang-rt-22-dev"
packages_format="clang-format-22"

packages_missing() {
    local name status
    for name in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || status=none
        [ "$status" = installed ] || printf '%s ' "$name"
    done
}

# packages_need NAME...: returns at once where all are there.
packages_need() {
    local missing runner=()
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "these Debian packages are missing: $missing"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "not root and no sudo; install these Debian packages: $missing"
        runner=(sudo)
    fi
    say "installing: $missing"
    local log
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of words
    if ! {
        "${runner[@]}" apt-get update &&
            "${runner[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends $missing
    } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $missing"
    fi
    rm -f "$log"
}

# npm may come from elsewhere than Debian: what is on the PATH is taken.
packages_need_npm() {
    command -v npm >/dev/null || packages_need npm ca-certificates
}
