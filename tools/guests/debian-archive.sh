# The archive of the Debian this machine runs, asked privately: what debian-source and debian-apps
# share. Sourced.
#
# The archive is the one that /etc/apt names, with its signatures checked by apt; a private set of
# indexes is used, so nothing outside the given directory changes and no root is needed. An archive
# drops a version when a security update follows: another revision of the same upstream version is
# taken then, and said so.
# shellcheck shell=bash

program=${0##*/}
die() {
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}

# archive_open DIR deb|deb-src: makes DIR and the indexes of one kind of package in it; sets dir and
# apt_options.
archive_open() {
    local codename type=$2 file apt
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || die "/etc/os-release names no Debian release"
    apt=$dir/.apt
    mkdir -p "$apt/sources.list.d" "$apt/lists/partial" "$apt/cache/archives/partial"
    apt_options=(-o "Dir::Etc::sourcelist=$apt/sources.list"
        -o "Dir::Etc::sourceparts=$apt/sources.list.d" -o "Dir::State::lists=$apt/lists"
        -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)

    # The machine's own lists, for the wanted kind. Lists of others than Debian (their suites are not
    # called as the release is) stay away.
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed 's/\[[^]]*\]//' "$file" | awk -v name="$codename" -v type="$type" '
            ($1 == "deb" || $1 == "deb-src") && ($3 == name || index($3, name "-") == 1) {
                $1 = type; print }'
    done | sort -u >"$apt/sources.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v name="$codename" -v type="$type" 'BEGIN { RS = ""; FS = "\n" } {
            ours = 0
            for (i = 1; i <= NF; i++) {
                if ($i ~ "^Suites:[ \t]*" name "([ \t-]|$)") ours = 1
                sub(/^Types:.*/, "Types: " type, $i)
            }
            if (ours) { for (i = 1; i <= NF; i++) if ($i !~ /^#/) print $i; print "" }
        }' "$file" >"$apt/sources.list.d/${file##*/}"
    done
    apt-get "${apt_options[@]}" -qq update >"$dir/.log" 2>&1 ||
        die "the archive cannot be reached: $(tail -n 3 "$dir/.log")"
}

archive_close() { rm -rf "${dir:?}/.apt" "$dir/.work" "$dir/.log"; }

archive_upstream() { # VERSION: without epoch and Debian revision
    local version=${1#*:}
    printf '%s' "${version%-*}"
}

# archive_versions NAME VERSION show|showsrc: that version, then other revisions of it, newest first;
# of a ~VERSION, whose upstream an archive replaces too, then every other.
archive_versions() {
    local version wanted=${2#\~} same
    printf '%s\n' "$wanted"
    # shellcheck disable=SC2086 # words
    apt-cache "${apt_options[@]}" $3 "$1" 2>/dev/null | sed -n 's/^Version: //p' | sort -ruV |
        while read -r version; do
            same=$(archive_upstream "$wanted")
            [ "$2" = "$wanted" ] || same=$(archive_upstream "$version")
            [ "$(archive_upstream "$version")" = "$same" ] && [ "$version" != "$wanted" ] &&
                printf '%s\n' "$version"
        done || true
}

# archive_fetch NAME VERSION show|showsrc APT-GET-WORDS...: leaves what `apt-get WORDS
# NAME=VERSION` downloads in $dir/.work and the version in ret_version.
archive_fetch() {
    local name=$1 wanted=$2 show=$3 version
    shift 3
    while read -r version; do
        rm -rf "$dir/.work"
        mkdir "$dir/.work"
        if (cd "$dir/.work" && apt-get "${apt_options[@]}" -qq "$@" "$name=$version") \
            >"$dir/.log" 2>&1; then
            [ "$version" = "${wanted#\~}" ] || printf '%s: %s %s is gone, taking %s\n' "$program" \
                "$name" "${wanted#\~}" "$version" >&2
            # shellcheck disable=SC2034 # for the caller
            ret_version=$version
            return
        fi
    done < <(archive_versions "$name" "$wanted" "$show")
    die "no $name $(archive_upstream "$wanted"): $(tail -n 3 "$dir/.log")"
}
