"""Real libraries for tools/dev bench codegen: Debian's sources, compiled twice with a driver.

A driver (libraries/NAME.c) is a kernel that calls a library. Sources are fetched at bench time by
tools/guests/debian-source in the versions of guests.lock ("bench NAME VERSION") and kept, like what
is made of them, under build/bench/libraries. Native code and module come from the same files with
the same definitions; what only one of the targets could have (assembly, threads, intrinsics) is off
for both.
"""

import concurrent.futures
import dataclasses
import hashlib
import pathlib
import shutil
import subprocess

import benchlib
from benchlib import execute

HERE = pathlib.Path(__file__).resolve().parent
PLACE = benchlib.OUT / "libraries"
SOURCES = PLACE / "sources"
GUESTS = benchlib.ROOT / "tools" / "guests"


@dataclasses.dataclass
class Library:
    package: str
    files: list[str]           # patterns in the package
    without: list[str] = dataclasses.field(default_factory=list)
    include: list[str] = dataclasses.field(default_factory=list)
    flags: list[str] = dataclasses.field(default_factory=list)
    wasm_flags: list[str] = dataclasses.field(default_factory=list)


def prepare_sodium(source: pathlib.Path) -> None:
    """What configure makes of version.h.in."""
    include = source / "src/libsodium/include/sodium"
    text = (include / "version.h.in").read_text()
    for name, value in (("VERSION", "1.0.18"), ("SODIUM_LIBRARY_VERSION_MAJOR", "10"),
                        ("SODIUM_LIBRARY_VERSION_MINOR", "3"), ("SODIUM_LIBRARY_MINIMAL_DEF", "")):
        text = text.replace(f"@{name}@", value)
    (include / "version.h").write_text(text)


def prepare_sqlite(source: pathlib.Path) -> None:
    """The one big file, made by native programs and Tcl."""
    if not (source / "sqlite3.c").exists():
        work = PLACE / "sqlite-build"
        work.mkdir(parents=True, exist_ok=True)
        for command in ([str(source / "configure"), "--disable-tcl", "--disable-readline",
                         "--disable-shared"], ["make", "sqlite3.c", "sqlite3.h"]):
            subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        for name in ("sqlite3.c", "sqlite3.h"):
            shutil.copy(work / name, source / name)


def prepare_lua(source: pathlib.Path) -> None:
    """There are no long jumps in WASI, and the driver's program makes no error. The other file is what
    Debian's rules write."""
    (source / "src/setjmp.h").write_text("")
    (source / "src/lua5.4-deb-multiarch.h").write_text('#define DEB_HOST_MULTIARCH "none"\n')


PREPARE = {"libsodium": prepare_sodium, "sqlite3": prepare_sqlite, "lua5.4": prepare_lua}

ZLIB = Library("zlib", ["*.c"], ["gz*.c"], ["."], ["-DHAVE_UNISTD_H", "-DHAVE_STDARG_H"])
LIBRARIES = {
    "zlib": ZLIB,
    "inflate": ZLIB,
    "bzip2": Library("bzip2", ["blocksort.c", "bzlib.c", "*compress.c", "crctable.c", "huffman.c",
                               "randtable.c"], [], ["."], ["-DBZ_NO_STDIO"]),
    "zstd": Library("libzstd", ["lib/common/*.c", "lib/compress/*.c", "lib/decompress/*.c"],
                    ["zstdmt*.c", "pool.c", "threading.c"], ["lib"],
                    ["-DZSTD_DISABLE_ASM", "-DNO_PREFETCH", "-DZSTD_NO_INTRINSICS"]),
    "sodium": Library("libsodium", ["src/libsodium/**/*.c"], ["randombytes*.c", "*salsa20*sse*.c"],
                      ["src/libsodium/include", "src/libsodium/include/sodium"],
                      ["-DCONFIGURED", "-DNATIVE_LITTLE_ENDIAN", "-D_WASI_EMULATED_SIGNAL"]),
    "lua": Library("lua5.4", ["src/l*.c"], ["lua.c", "luac.c", "linit.c", "liolib.c", "loslib.c",
                                            "loadlib.c"], ["src"],
                   ["-DLUAI_THROW(L,c)=abort()", "-DLUAI_TRY(L,c,a)=if((c)->status==0){a}",
                    "-Dluai_jmpbuf=int", "-Dluai_makeseed(L)=42", "-Dl_randomizePivot()=0",
                    "-D_WASI_EMULATED_SIGNAL"]),
    "sqlite": Library("sqlite3", ["sqlite3.c"], [], ["."],
                      ["-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DSQLITE_OMIT_WAL",
                       "-DSQLITE_MAX_MMAP_SIZE=0", "-DSQLITE_TEMP_STORE=3"],
                      ["-include", "tools/guests/python/sqlite_wasi.h", "-D_WASI_EMULATED_GETPID"]),
}


def fetch() -> None:
    """All packages at once, where one is not there in its version."""
    wanted = [line.split()[1:] for line in (GUESTS / "guests.lock").read_text().splitlines()
              if line.startswith("bench ")]
    mark = SOURCES / ".complete"
    text = repr(wanted)
    if mark.exists() and mark.read_text() == text:
        return
    benchlib.progress("fetching Debian's sources")
    execute([str(GUESTS / "debian-source"), str(SOURCES), *(f"{n}={v}" for n, v in wanted)])
    mark.write_text(text)


def compile_all(name: str, library: Library, target: str, compiler: list[str]) -> list[str]:
    """The library's and the driver's objects for one target."""
    flags = library.flags + (library.wasm_flags if target == "wasm" else [])
    source = SOURCES / library.package
    files = sorted({p for pattern in library.files for p in source.glob(pattern)}
                   - {p for pattern in library.without for p in source.rglob(pattern)})
    files.append(HERE / "libraries" / f"{name}.c")
    place = PLACE / f"{name}-{target}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)

    def one(numbered: tuple[int, pathlib.Path]) -> str:
        number, file = numbered
        result = place / f"{number}-{file.stem}.o"
        execute([*compiler, "-O3", "-w", "-ffp-contract=off", "-ffunction-sections",
                 f"-iquote{benchlib.ROOT}", *flags,
                 *(f"-I{source / i}" for i in library.include), "-c", str(file), "-o", str(result)])
        return str(result)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, enumerate(files)))


def build(name: str, march: str) -> tuple[str, str]:
    """The native program and the module of one case; made once for each version and driver."""
    library = LIBRARIES[name]
    fetch()
    drivers = HERE / "libraries"
    versions = [line for line in (GUESTS / "guests.lock").read_text().splitlines()
                if line.startswith(f"bench {library.package} ")]
    made_of = [repr((library, versions, march)).encode(), (drivers / f"{name}.c").read_bytes(),
               (drivers / "text.h").read_bytes(), (HERE / "kernels" / "kernel.h").read_bytes()]
    key = hashlib.sha256(b"".join(made_of)).hexdigest()[:12]
    native, wasm = PLACE / f"{name}-{key}", PLACE / f"{name}-{key}.wasm"
    if not (native.exists() and wasm.exists()):
        benchlib.progress(f"building {name}")
        if library.package in PREPARE:
            PREPARE[library.package](SOURCES / library.package)
        clang = ["clang-22", f"-march={march}"]
        execute([*clang, *compile_all(name, library, "native", clang), "-o", str(native), "-lm",
                 "-Wl,--gc-sections"])
        clang = ["clang-22", "--target=wasm32-wasi", "-Wno-deprecated"]
        execute([*clang, *compile_all(name, library, "wasm", clang), "-o", str(wasm), "-lm",
                 "-lwasi-emulated-getpid", "-lwasi-emulated-signal"])
    return str(native), str(wasm)
