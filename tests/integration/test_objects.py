#!/usr/bin/python3
"""Code objects as other tools see them: the same bytes every time, and readelf, objdump, gdb and
perf find the module's functions in them.

    tests/integration/test_objects.py

A tool that is not installed is counted as skipped. HUTCH names the hutch to test.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))
passed = failed = skipped = 0

MODULE = """
(module
  (import "env" "log" (func $log (param i32)))
  (memory (export "memory") 1 4)
  (table 2 funcref)
  (elem (i32.const 0) $deep $spin)
  (data (i32.const 4094) "over a page")
  (data $later "kept")
  (global $g (mut i64) (i64.const -7))
  (func $deep (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.load (i32.const 65535)))
      (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))))
  (func $spin (export "spin") (param $n i32) (result i32) (local $x i32)
    (loop $again
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525))
                             (i32.load (i32.and (local.get $x) (i32.const 0xfffc)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (local.get $x))
  (func $trapper (export "trapper") (result i32) (call $deep (i32.const 3)))
  (func (export "init") (memory.init $later (i32.const 0) (i32.const 0) (i32.const 4))
    (call $log (i32.const 1))))
"""


def check(condition, what, *details):
    global passed, failed
    if condition:
        passed += 1
        return
    failed += 1
    print(f"FAIL {what}", flush=True)
    for detail in details:
        print("     " + str(detail)[-2000:].replace("\n", "\n     "), flush=True)


def run(*command, seconds=120):
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                       timeout=seconds, errors="replace", stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def have(tool):
    global skipped
    if shutil.which(tool):
        return True
    skipped += 1
    print(f"skip {tool}: not installed", flush=True)
    return False


def without_import(text):
    """The same module, so that it runs without a host function."""
    text = text.replace('  (import "env" "log" (func $log (param i32)))\n', "")
    return text.replace("    (call $log (i32.const 1))", "")


def same_bytes(work, wasm):
    objects = []
    for i, jobs in enumerate(("1", "2", "3")):
        made = work / f"same{i}.hutch"
        status, _, err = run(HUTCH, "compile", "--no-cache", "--jobs", jobs, wasm, "-o", made)
        check(status == 0, f"compiles with --jobs {jobs}", err)
        objects.append(made.read_bytes() if made.exists() else b"")
    check(len(set(objects)) == 1, "the same bytes whatever --jobs is")


def inspect(object_file):
    status, out, err = run(HUTCH, "inspect", "--json", "--functions", object_file)
    check(status == 0, "inspect --json", err)
    v = json.loads(out)
    check(v["digest_matches"] and v["runs_here"], "a sound object", out[:300])
    check([e["name"] for e in v["exports"]] == ["memory", "spin", "trapper", "init"], "exports",
          v["exports"])
    check(v["imports"][0]["type"] == "(i32) -> ()", "the import's type", v["imports"])
    check(v["memories"] == [{"min": 1, "max": 4}], "the memory", v["memories"])
    check(v["globals"][0]["init"] == "i64.const -7", "the global", v["globals"])
    check(v["image_runs"] == [{"guest_page": 0, "image_page": 0, "count": 2}], "the image",
          v["image_runs"])
    check([d["in_image"] for d in v["data_segments"]] == [True, False], "the data segments",
          v["data_segments"])
    names = [f["name"] for f in v["functions"]]
    check(names == ["log", "deep", "spin", "trapper", None], "function names", names)
    status, out, _ = run(HUTCH, "inspect", "--functions", object_file)
    check(status == 0 and '"trapper"  function 3: () -> (i32)' in out, "inspect for people", out)
    return v


def damaged(work, object_file):
    bytes_ = bytearray(object_file.read_bytes())
    bytes_[-200] ^= 4
    broken = work / "broken.hutch"
    broken.write_bytes(bytes_)
    status, out, err = run(HUTCH, "inspect", broken)
    check(status == 1 and "DAMAGED" in out and "digest mismatch" in err, "a flipped bit", err)
    status, _, err = run(HUTCH, "run", "--allow-precompiled", "--invoke", "trapper", broken)
    check(status == 1 and "digest mismatch" in err, "a flipped bit is not run", err)
    broken.write_bytes(bytes_[:5000])
    status, _, err = run(HUTCH, "inspect", broken)
    check(status == 1 and "truncated code object" in err, "a truncated object", err)


def elf_tools(object_file):
    if have("readelf"):
        _, out, err = run("readelf", "-lSrdW", object_file)
        check("Warning" not in err and "Error" not in err, "readelf has nothing to say", err)
        check("There are no relocations in this file" in out, "no relocations", out)
        check(not re.search(r"LOAD.* (RW|WE|RWE) ", out), "nothing is loaded writable", out)
    if have("eu-elflint"):
        status, out, err = run("eu-elflint", "--gnu-ld", object_file)
        check(status == 0, "eu-elflint", out + err)
    if have("objdump"):
        _, out, _ = run("objdump", "-d", object_file)
        for name in ("deep", "spin", "trapper", "wasm-function[4]", "import.env.log",
                     "trap.UNREACHABLE", "entry[0]"):
            check(f"<{name}>:" in out, f"objdump finds {name}", out[:1000])


# c += factor * a over static arrays that are aligned, though the module does not say so; $both calls on.
VECTORS = """
(module
  (memory (export "memory") 1)
  (func $product (export "product") (param $factor f64) (local $i i32)
    (loop $next
      (f64.store offset=16384 align=1 (local.get $i)
        (f64.add (f64.load offset=16384 align=1 (local.get $i))
          (f64.mul (local.get $factor) (f64.load offset=8192 align=1 (local.get $i)))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 8192)))))
  (func (export "both") (call $product (f64.const 2)) (call $product (f64.const 3))))
"""


# goto between three labels, each way known where it is set
GOTO = """
(module
  (func (export "run") (param $n i32) (result i32) (local $way i32) (local $s i32)
    (loop $head
      (block $2 (block $1 (block $0 (br_table $0 $1 $2 (local.get $way)))
          (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 3)) (local.get $n)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (if (i32.and (local.get $s) (i32.const 2))
            (then (local.set $way (i32.const 2))) (else (local.set $way (i32.const 1))))
          (br $head))
        (local.set $s (i32.xor (local.get $s) (i32.const 0x155)))
        (if (i32.and (local.get $s) (i32.const 4)) (then (local.set $way (i32.const 2)) (br $head)))
        (local.set $way (i32.const 0))
        (br $head))
      (local.set $s (i32.rotl (local.get $s) (i32.const 5)))
      (if (i32.le_s (local.get $n) (i32.const 0)) (then (return (local.get $s))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (local.set $way (i32.const 0))
      (br $head))
    (unreachable)))
"""


def instructions(work):
    """What the compiler is known to get right (docs/compiler.md)."""
    if not have("objdump"):
        return
    (work / "vectors.wat").write_text(VECTORS)
    run("wat2wasm", work / "vectors.wat", "-o", work / "vectors.wasm")
    found = {}
    for target in ("x86-64-v2", "x86-64-v3"):
        status, _, err = run(HUTCH, "compile", "--no-cache", "--target", target, work / "vectors.wasm", "-o",
                             work / f"{target}.hutch")
        check(status == 0, f"hutch compile for {target}", err)
        _, found[target], _ = run("objdump", "-d", "--no-show-raw-insn", work / f"{target}.hutch")
    check("mulpd" in found["x86-64-v2"] and "movupd" not in found["x86-64-v2"]
          and re.search(r"(mul|add)pd .*\(", found["x86-64-v2"]),
          "aligned vectors are operands in memory", found["x86-64-v2"])
    check("ymm" in found["x86-64-v3"] and "vzeroupper" not in found["x86-64-v3"], "no vzeroupper",
          found["x86-64-v3"])
    (work / "goto.wat").write_text(GOTO)
    run("wat2wasm", work / "goto.wat", "-o", work / "goto.wasm")
    (work / "dump").mkdir()
    status, _, err = run(HUTCH, "compile", "--no-cache", "--dump-dir", work / "dump", work / "goto.wasm", "-o",
                         work / "goto.hutch")
    check(status == 0, "goto", err)
    found = {name: (work / "dump" / f"partition-0.{name}.ll").read_text().count("switch i32")
             for name in ("lowered", "optimised")}
    check(found == {"lowered": 1, "optimised": 0}, "no label of a goto is asked for where it is known", found)
    (work / "length.c").write_text("#include <string.h>\nint main(int c, char **v) { return (int)strlen(v[0]) % (c + 1); }\n")
    run("clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", work / "length.c", "-o", work / "length.wasm")
    for target in ("x86-64-v2", "x86-64-v3"):
        status, _, err = run(HUTCH, "compile", "--no-cache", "--target", target, work / "length.wasm", "-o",
                             work / "length.hutch")
        check(status == 0, f"strlen for {target}", err)
        _, out, _ = run("objdump", "-d", "--no-show-raw-insn", work / "length.hutch")
        check("ymm" in out and ("vzeroupper" in out) == (target == "x86-64-v2"),
              f"strlen for {target} has 32 bytes in a vector, and comes from SSE's encoding only for v2", out)


def gdb(work, object_file):
    if not have("gdb"):
        return
    script = work / "commands.gdb"
    script.write_text("set debuginfod enabled off\nset breakpoint pending on\n"
                      "handle SIGSEGV stop nopass\nrun\nbt\nkill\n")
    _, out, err = run("gdb", "-nx", "-batch", "-x", script, "--args", HUTCH, "run",
                      "--allow-precompiled", "--invoke", "trapper", object_file)
    if "Cannot find bounds" in err or "ptrace" in err.lower():
        global skipped
        skipped += 1
        print("skip gdb: it may not trace here", flush=True)
        return
    frames = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?([^ (]+)", out, re.M)
    check(frames[:1] == ["deep"] and "trapper" in frames, "gdb's backtrace", out, err)
    check("entry[0]" in frames or any(f.startswith("entry[") for f in frames[-2:]),
          "gdb's backtrace ends where the guest was entered", out)
    check("corrupt" not in out + err and len(frames) < 10000, "and nowhere else", out, err)


def perf(work, object_file):
    if not have("perf"):
        return
    data = work / "perf.data"
    status, _, err = run("perf", "record", "-e", "cpu-clock", "-o", data, HUTCH, "run",
                         "--allow-precompiled", "--invoke", "spin", object_file, "200000000")
    if status != 0:
        global skipped
        skipped += 1
        print("skip perf: it may not record here", flush=True)
        return
    _, out, err = run("perf", "report", "-i", data, "--stdio", "--sort", "dso,symbol")
    check(re.search(r"[0-9.]+%\s+\S+\.hutch\s+\[\.\] spin", out), "perf names the function", out)


def main():
    wat2wasm = shutil.which("wat2wasm")
    if not wat2wasm:
        print("FAIL wat2wasm is not installed\n0 passed, 1 failed")
        return 1
    with tempfile.TemporaryDirectory(prefix="hutch-objects-") as directory:
        work = pathlib.Path(directory)
        for name, text in (("all", MODULE), ("alone", without_import(MODULE))):
            (work / f"{name}.wat").write_text(text)
            status, _, err = run(wat2wasm, "--debug-names", work / f"{name}.wat", "-o",
                                 work / f"{name}.wasm")
            check(status == 0, "wat2wasm", err)
            status, _, err = run(HUTCH, "compile", work / f"{name}.wasm", "-o",
                                 work / f"{name}.hutch")
            check(status == 0, "hutch compile", err)
        if not failed:
            same_bytes(work, work / "all.wasm")
            inspect(work / "all.hutch")
            damaged(work, work / "alone.hutch")
            elf_tools(work / "all.hutch")
            instructions(work)
            gdb(work, work / "alone.hutch")
            perf(work, work / "alone.hutch")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
