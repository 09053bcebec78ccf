#!/bin/sh
# SHA-256 alone out of libcrypto.a, as one object file: sha256.sh OBJCOPY OUTPUT CC...
#
# The shared libcrypto costs a process that only hashes two milliseconds: 400 KiB of relocations,
# and the EVP interface reads a configuration file. Its static archive holds the same assembler
# code, chosen by CPUID as there. Every name but ours becomes local, so that a program which has
# the shared library too (signatures, TLS) keeps the two apart.
set -eu
objcopy=$1 output=$2
shift 2
"$@" -r -nostdlib -Wl,-d -Wl,-u,SHA256_Init -Wl,-u,SHA256_Update -Wl,-u,SHA256_Final \
    -o "$output.all" -l:libcrypto.a
"$objcopy" --redefine-sym SHA256_Init=digest_sha256_init \
    --redefine-sym SHA256_Update=digest_sha256_update \
    --redefine-sym SHA256_Final=digest_sha256_final \
    --keep-global-symbol=digest_sha256_init --keep-global-symbol=digest_sha256_update \
    --keep-global-symbol=digest_sha256_final "$output.all" "$output"
rm -f "$output.all"
