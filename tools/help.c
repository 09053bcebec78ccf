/*
 * What --help prints. The options come from options.def, so that none is forgotten; the rest is
 * written to be read once by someone who wants to run a program.
 */
#include "tools/cli.h"

static const char overview[] =
    "hutch compiles WebAssembly ahead of time and runs it, sandboxed, at native speed.\n"
    "\n"
    "Usage: hutch COMMAND [OPTIONS] FILE [ARGS...]\n"
    "\n"
    "Commands:\n"
    "  run       run a program; compiled on the way the first time, from the cache afterwards\n"
    "  compile   make a code object of a module\n"
    "  inspect   show what a code object holds\n"
    "  profile   add up and show profiles\n"
    "  image     make, list or check a read-only image of a directory's files\n"
    "  snapshot  freeze a program where it waits for a request, to go on from there\n"
    "  bundle    put modules and their code objects into one signed file\n"
    "  import    take a bundle into the cache\n"
    "  cache     show what is kept, give it names, pin it, check it, make room\n"
    "  key       make keys that sign bundles, and say which are trusted\n"
    "  app       check the description of an app: app.yaml\n"
    "  serve     answer HTTP requests with apps, each in processes of its own\n"
    "  usage     what apps have used: requests, CPU time, bytes\n"
    "  top       watch a server: apps, tenants, memory, CPU time\n"
    "  help      explain a command: hutch help run\n"
    "\n"
    "Options:\n"
    "  -h, --help      show this help\n"
    "  -V, --version   show the versions of hutch, LLVM and the ABI\n"
    "\n"
    "Examples:\n"
    "  hutch run hello.wasm                      run a WASI program\n"
    "  hutch run --dir . app.wasm in.txt         let it use this directory\n"
    "  hutch run --invoke add math.wasm 2 3      call an exported function\n"
    "  hutch compile app.wasm                    make app.hutch\n"
    "  hutch run --allow-precompiled app.hutch   run it without a compiler\n";

struct help {
    const char *command, *usage, *examples, *notes;
    char letter;
};

static const struct help helps[] = {
    {"run",
     "Usage: hutch run [OPTIONS] FILE [ARGS...]\n"
     "       hutch run [OPTIONS] NAME:TAG|NAME@sha256:DIGEST [ARGS...]\n"
     "\n"
     "Runs a WASI program (preview1): calls its _start. FILE is a module in the binary format, "
     "NAME\n"
     "an app that 'hutch import' took in. Its code object is kept, so the next run starts at\n"
     "once. The guest gets nothing of this machine but standard input, output and error, and\n"
     "what the options give it.\n"
     "Options stand before FILE; everything after it belongs to the program.\n",
     "  hutch run hello.wasm one two              arguments for the program\n"
     "  hutch run --dir . app.wasm                this directory, as .\n"
     "  hutch run --dir /srv/d::/d app.wasm       /srv/d, which the program sees as /d\n"
     "  hutch run --dir /srv/d::/d:ro app.wasm    the same, but nothing can be changed\n"
     "  hutch run --image lib.erofs::/lib app.wasm    the files of an image, as /lib\n"
     "  hutch run --tmpfs /tmp:size=16M app.wasm  an empty /tmp in memory\n"
     "  hutch run --volume d::/d:size=1G app.wasm directory d, which cannot outgrow 1G\n"
     "  hutch run --env LANG --env DEBUG=1 app.wasm\n"
     "  hutch run --invoke add math.wasm 2 3      prints 5\n"
     "  hutch run -W max-memory-size=256M,timeout=5s app.wasm\n"
     "  hutch run --allow-precompiled app.hutch\n"
     "  hutch run --dir . python:3.11 script.py   an imported app, with its own images\n",
     "Sizes are bytes, or have K, M or G (of 1024). Durations have ns, us, ms, s, m or h; a "
     "bare\n"
     "number is seconds.\n"
     "\n"
     "Exit status: the program's own. 134 where it trapped or ran out of time, with a report "
     "on\n"
     "standard error; 1 where it could not be run; 2 for a mistake on the command line.\n"
     "\n"
     "Objects are kept in $HUTCH_CACHE_DIR, else $XDG_CACHE_HOME/hutch, else ~/.cache/hutch.\n",
     'R'},
    {"compile",
     "Usage: hutch compile [OPTIONS] FILE\n"
     "\n"
     "Compiles a module to a code object: NAME.wasm to NAME.hutch in this directory. The "
     "object\n"
     "is an ELF file: objdump, gdb and perf read it. The same module, options and hutch give\n"
     "the same bytes.\n",
     "  hutch compile app.wasm                    makes app.hutch\n"
     "  hutch compile -O3 -o fast.hutch app.wasm\n"
     "  hutch compile --target x86-64-v3 app.wasm     for processors from about 2015 on\n",
     "native uses all this processor has; the object may then not run on another. -O fast is\n"
     "for a first deployment: many times faster to compile, slower to run.\n"
     "\n"
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line. A file appears whole or "
     "not\n"
     "at all.\n",
     'C'},
    {"inspect",
     "Usage: hutch inspect [--json] [--functions] [--trust-dir DIR] FILE\n"
     "\n"
     "Shows what a code object holds: what it was made from, by which compiler and for which\n"
     "processor, its imports and exports with their types, functions, memories and sections.\n"
     "Of a module it says whether it is valid, of a bundle what is in it, who signed it and\n"
     "whether every digest holds. Nothing is run.\n"
     "\n"
     "Options:\n"
     "      --json       everything, as one JSON value\n"
     "      --functions  every function: name, address, size, offset in the module\n"
     "      --trust-dir DIR  the keys that a bundle is judged by\n",
     "  hutch inspect app.hutch\n"
     "  hutch inspect --functions app.hutch\n"
     "  hutch inspect --json app.hutch\n",
     "Exit status: 0 done, 1 where it is not sound, 2 a mistake on the command "
     "line.\n",
     'I'},
    {"profile",
     "Usage: hutch profile merge -o FILE PROFILE...\n"
     "       hutch profile show [--json] [--top N] PROFILE [MODULE.wasm]\n"
     "       hutch profile hints -o FILE PROFILE MODULE.wasm\n"
     "\n"
     "Profiles say how often each function and branch of a program ran. `hutch run "
     "--profile-out`\n"
     "writes them, `hutch compile --profile` compiles by them. merge adds profiles up; show\n"
     "prints the functions that ran most, with their names where it is given the module. hints\n"
     "makes a module that says itself which way its branches go: whoever compiles it gains\n"
     "without the profile.\n"
     "\n"
     "Options:\n"
     "  -o, --output FILE  where merge leaves the sum, hints the module\n"
     "      --json         everything, as one JSON value\n"
     "      --top N        how many functions to show (default: 20)\n",
     "  hutch run --profile-out app.prof app.wasm < input\n"
     "  hutch compile --profile app.prof -o app.hutch app.wasm\n"
     "  hutch profile merge -o all.prof monday.prof tuesday.prof\n"
     "  hutch profile show --top 5 app.prof app.wasm\n"
     "  hutch profile hints -o hinted.wasm app.prof app.wasm\n",
     "A profile also fits other builds of a program, as far as their functions are the same.\n"
     "\n"
     "Exit status: 0 done, 1 where a file is not sound, 2 a mistake on the command line.\n",
     'I'},
    {"snapshot",
     "Usage: hutch snapshot create [OPTIONS] FILE [ARGS...]\n"
     "       hutch snapshot list\n"
     "       hutch snapshot inspect [--json] NAME|FILE...\n"
     "       hutch snapshot rm NAME...\n"
     "\n"
     "create runs a program until it waits for a request on its request socket (descriptor 3, "
     "or "
     "0\n"
     "with --fastcgi), sends it the warm-up requests, and writes it out as it stands. hutch "
     "run\n"
     "--snapshot goes on from there, in any number of processes. A CGI program (--cgi) waits "
     "for\n"
     "none: it is frozen at the end of its start-up. list and rm are about the "
     "store;\n"
     "inspect checks a snapshot and shows what it is bound to.\n",
     "  hutch snapshot create --name shop --image lib.erofs::/usr app.wasm serve.py\n"
     "  hutch snapshot create -o shop.snap --request get.txt app.wasm\n"
     "  hutch run --snapshot shop --listen 127.0.0.1:8080\n",
     "A snapshot is as good as its code object, images, arguments and environment: where one "
     "of\n"
     "them differs it is refused. It holds what the program has in memory, secrets too.\n"
     "\n"
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line.\n",
     'S'},
    {"image",
     "Usage: hutch image create [--mtime TIME] -o FILE DIR\n"
     "       hutch image list FILE\n"
     "       hutch image check FILE\n"
     "\n"
     "An image is one file that holds a directory's files, to be read only (EROFS: the kernel\n"
     "mounts it, mkfs.erofs makes it too). Programs that read from one share its memory and\n"
     "need no system call. The same files give the same bytes.\n"
     "\n"
     "Options:\n"
     "  -o, --output FILE  where create leaves the image\n"
     "      --mtime TIME   the time of every file, in seconds since 1970, or keep: each "
     "file's\n"
     "                     own (default: $SOURCE_DATE_EPOCH, else 1980-01-01)\n",
     "  hutch image create site-packages -o app.erofs\n"
     "  hutch image list app.erofs\n"
     "  hutch run --image app.erofs::/lib python.wasm\n",
     "Exit status: 0 done, 1 where it is not sound or cannot be made, 2 a mistake on the "
     "command\n"
     "line.\n",
     'I'},
    {"cache",
     "Usage: hutch cache list [--kind KIND] [--sort used|size|hits] [--full]\n"
     "       hutch cache show WHICH...\n"
     "       hutch cache name NAME[:TAG] FILE.wasm|WHICH\n"
     "       hutch cache remove WHICH...\n"
     "       hutch cache pin [--as WHO] WHICH...\n"
     "       hutch cache unpin [--as WHO] WHICH...\n"
     "       hutch cache verify\n"
     "       hutch cache gc [--max-size SIZE] [--min-free SIZE] [--dry-run]\n"
     "       hutch cache export-stats\n"
     "\n"
     "What is kept of modules, their code objects and imported apps. WHICH is a name "
     "(python:3.11,\n"
     "python@sha256:DIGEST), a digest or its first digits, or the file of a module. name puts "
     "a\n"
     "module into the cache under a name that 'hutch run' takes; remove takes a name away, or "
     "an\n"
     "entry that nothing keeps. pin keeps an entry, and a module's objects with it; what has a "
     "name\n"
     "is kept too. verify hashes everything again. gc removes what was used least recently.\n"
     "\n"
     "Options:\n"
     "      --json             the result as JSON; export-stats is in Prometheus' text format\n"
     "                         otherwise\n"
     "      --cache-dir DIR    (default: $HUTCH_CACHE_DIR, else $XDG_CACHE_HOME/hutch, else\n"
     "                         ~/.cache/hutch)\n"
     "      --kind KIND        only module, object, image, manifest, snapshot or other\n"
     "      --sort ORDER       used: the last used first (default); size; hits\n"
     "      --full             digests in full\n"
     "      --as WHO           who pins (default: manual)\n"
     "      --max-size SIZE    until there is no more than that (default: the cache's limit)\n"
     "      --min-free SIZE    and until the file system has so much room\n"
     "      --dry-run          only say what would be removed\n",
     "  hutch cache name python:3.11 python.wasm\n"
     "  hutch run python:3.11 script.py\n"
     "  hutch cache show python:3.11\n"
     "  hutch cache pin --as deploy python:3.11\n"
     "  hutch cache gc --max-size 2G --dry-run\n"
     "  hutch cache export-stats > /var/lib/prometheus/node-exporter/hutch.prom\n",
     "A compilation that takes the cache over $HUTCH_CACHE_MAX_SIZE (default: 10G), or leaves "
     "too\n"
     "little room on the disk, is followed by a gc.\n"
     "\n"
     "Exit status: 0 done, 1 failed, and where verify found damage; 2 a mistake on the "
     "command\n"
     "line.\n",
     'I'},
    {"bundle",
     "Usage: hutch bundle [OPTIONS] -o FILE.tar [NAME[:TAG]=]MODULE.wasm...\n"
     "       hutch bundle [OPTIONS] -o FILE.tar APP-DIRECTORY\n"
     "\n"
     "Puts modules, their code objects for one or more processors and images of files into "
     "one\n"
     "file: an OCI image layout, which skopeo and any registry carry. A node that trusts the "
     "key\n"
     "runs it without compiling. Objects come from the cache or are compiled. Of a directory "
     "with\n"
     "an app.yaml all is packed that it names: the module, and images of what it mounts.\n"
     "\n"
     "Options:\n"
     "  -o, --output FILE      where to leave the bundle; it appears whole or not at all\n"
     "      --target LIST      v2, v3, v4, native, with commas (default: v3)\n"
     "      --sign KEY         a private key of 'hutch key generate'\n"
     "      --name NAME[:TAG]  what the app is called (default: the first module's name)\n"
     "      --image PATH=FILE  an image of 'hutch image create', or a directory to make one "
     "of,\n"
     "                         whose files the app sees as PATH\n"
     "      --env NAME=VALUE   a variable that the app is started with\n"
     "      --arg ARG          an argument that stands before those of a command line\n"
     "      --instaboot        run the program once for each object that this machine can\n"
     "                         run, until it waits for a request, and pack a snapshot of it\n"
     "      --snapshot FILE    or one that 'hutch snapshot create' has made: file or name\n"
     "      --level N          of compression, 1 to 19 (default: 9)\n"
     "  -O, --optimize LEVEL   as for compile\n"
     "  -j, --jobs N           as for compile\n"
     "      --profile FILE     as for compile\n"
     "      --sequence N       nodes take no lower one later (default: SOURCE_DATE_EPOCH, "
     "else\n"
     "                         the time in seconds since 1970)\n"
     "      --expires TIME     nodes refuse it afterwards: 30d, 12h\n"
     "      --no-objects       modules only; nodes compile\n"
     "      --cache-dir DIR    where objects are looked up and kept\n"
     "      --json             the result as JSON\n",
     "  hutch bundle hello.wasm -o hello.tar\n"
     "  hutch bundle --target v2,v3,v4 --sign ci.key python:3.11=python.wasm \\\n"
     "    --image /usr=usr --env PYTHONHOME=/usr -o python.tar\n"
     "  hutch bundle --sign ci.key blog -o blog.tar        blog/app.yaml\n"
     "  skopeo copy oci-archive:python.tar docker://registry.example/python:3.11\n",
     "The same modules, options, sequence and key give the same bytes; not with "
     "--instaboot.\n"
     "\n"
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line.\n",
     'I'},
    {"import",
     "Usage: hutch import [OPTIONS] FILE.tar\n"
     "\n"
     "Takes a bundle into the cache, so that 'hutch run NAME' finds it; - reads standard "
     "input.\n"
     "Every digest is checked before anything of it can be found. Native code and snapshots "
     "are\n"
     "taken only from a bundle that a trusted key signed; of others the modules are, and are\n"
     "compiled here.\n"
     "\n"
     "Options:\n"
     "      --allow-unsigned  native code of unknown makers too: it runs with your rights\n"
     "      --allow-older     also a bundle older than the one a name had before\n"
     "      --trust-dir DIR   the trusted keys (default: $HUTCH_TRUST_DIR, else\n"
     "                        ~/.config/hutch/trust.d and /etc/hutch/trust.d)\n"
     "      --cache-dir DIR   the cache to take it into\n"
     "      --max-size SIZE   refuse what is larger unpacked (default: 16G)\n"
     "      --dry-run         check everything, change nothing\n"
     "      --json            the result as JSON\n",
     "  hutch import python.tar\n"
     "  hutch run --dir . python:3.11 script.py\n"
     "  skopeo copy docker://registry.example/python:3.11 oci-archive:python.tar\n",
     "Repeating an import, or interrupting it, does no harm.\n"
     "\n"
     "Exit status: 0 done, 1 where it is refused, 2 a mistake on the command line.\n",
     'I'},
    {"key",
     "Usage: hutch key generate [-o NAME]\n"
     "       hutch key list [--json]\n"
     "       hutch key trust [--name NAME] FILE.pub\n"
     "       hutch key revoke [--reason TEXT] NAME|ID|FILE.pub\n"
     "\n"
     "Keys are Ed25519, in PEM files that openssl reads. generate makes NAME.key, which signs, "
     "and\n"
     "NAME.pub, for the nodes. trust copies a public key into the trust directory; revoke "
     "refuses\n"
     "a key from then on, whatever else is in that directory, and takes native code that it "
     "signed\n"
     "out of the cache.\n"
     "\n"
     "Options:\n"
     "  -o, --output NAME    of the pair of files (default: hutch)\n"
     "      --trust-dir DIR  (default: $HUTCH_TRUST_DIR, else ~/.config/hutch/trust.d, or\n"
     "                       /etc/hutch/trust.d for root)\n"
     "      --name NAME      to call the key by (default: the file's)\n"
     "      --reason TEXT    kept beside the revocation\n"
     "      --cache-dir DIR  the cache that revoke cleans\n"
     "      --json           list as JSON\n",
     "  hutch key generate -o ci\n"
     "  hutch key trust ci.pub\n"
     "  hutch key revoke --reason 'laptop lost' ci\n",
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line.\n", 'I'},
    {"app",
     "Usage: hutch app check [--no-files] [--json] [FILE|DIR...]\n"
     "       hutch app schema\n"
     "\n"
     "check reads app.yaml as `hutch serve` does and says what is wrong in which line; of a\n"
     "directory, its app.yaml, or else every NAME.yaml and NAME/app.yaml in it. Without\n"
     "arguments: of this directory. schema prints the JSON schema of app.yaml, for editors.\n"
     "\n"
     "Options:\n"
     "      --no-files  not whether module, mounts and secrets are there\n"
     "      --json      print the apps as JSON, every default filled in\n",
     "  hutch app check\n"
     "  hutch app check /etc/hutch/apps\n"
     "  hutch app schema > app.schema.json\n",
     "Exit status: 0 where all are right, 1 where one is not, 2 a mistake on the command "
     "line.\n",
     'I'},
    {"usage",
     "Usage: hutch usage [--app NAME]... [--since TIME] [--until TIME] [--by PERIOD]\n"
     "                   [--json|--csv] [--state-dir DIR]\n"
     "\n"
     "Adds up the records that `hutch serve` keeps of every request, by app and period. CPU "
     "time is\n"
     "the kernel's count of the tenant's process; waiting is not in it.\n"
     "\n"
     "Options:\n"
     "      --app NAME       this app only; may be given again\n"
     "      --since TIME     from then on: 2026-11-25, 2026-11-25T10:30 (UTC), or 12h, 7d ago\n"
     "      --until TIME     until then\n"
     "      --by PERIOD      hour, day, month or total (default: total)\n"
     "      --json           as one JSON value, times in nanoseconds\n"
     "      --csv            as comma-separated values\n"
     "      --state-dir DIR  the server's (default: /var/lib/hutch for root, else\n"
     "                       $XDG_STATE_HOME/hutch, ~/.local/state/hutch)\n",
     "  hutch usage --since 7d --by day\n"
     "  hutch usage --app shop --since 2026-11-01 --by month --csv\n",
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line.\n", 'I'},
    {"top",
     "Usage: hutch top [--admin ADDRESS] [--interval TIME] [--once] [--json]\n"
     "\n"
     "Shows a running server's apps: tenants, requests, median and 99th percentile of the time "
     "a\n"
     "request takes, CPU time billed, memory that is each tenant's own and memory they share. "
     "Ends\n"
     "with q. Memory is read from /proc: as root or as the server's user.\n"
     "\n"
     "Options:\n"
     "      --admin ADDRESS  the server's --admin listener: unix:PATH or HOST:PORT (default:\n"
     "                       $HUTCH_ADMIN, else unix:/run/hutch/admin.sock)\n"
     "  -d, --interval TIME  between two looks (default: 2s)\n"
     "      --once           print once and end; so also where output is no terminal\n"
     "      --json           print once, as JSON\n",
     "  hutch top\n"
     "  hutch top --admin 127.0.0.1:9100 --once\n",
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line.\n", 'I'},
    {"serve",
     "Usage: hutch serve [OPTIONS] SOURCE...\n"
     "\n"
     "Answers HTTP requests with apps. A SOURCE is an app.yaml, a directory with one, a "
     "directory\n"
     "of apps, or the name of an imported app. SIGHUP reads them again, SIGTERM ends the "
     "server\n"
     "when the requests under way are answered.\n"
     "\n"
     "Options:\n"
     "  -l, --listen ADDRESS         HTTP: HOST:PORT, PORT or unix:/PATH; repeatable\n"
     "                               (default: 127.0.0.1:8080, or systemd's sockets)\n"
     "      --fastcgi-listen ADDRESS FastCGI, for nginx, Caddy or Apache in front; repeatable\n"
     "      --admin ADDRESS          /metrics, /status, /healthz, /readyz; repeatable\n"
     "      --state-dir DIR          for usage records and hibernated instances (default:\n"
     "                               /var/lib/hutch, or ~/.local/state/hutch for users)\n"
     "      --access-log FILE        a line of JSON for each request; -: standard output\n"
     "                               (default), off\n"
     "      --log FILE               what guests write and what goes wrong; -: standard\n"
     "                               error (default), off\n"
     "      --secrets-dir DIR        of imported apps (default: /etc/hutch/secrets)\n"
     "      --profile-dir DIR        count what apps do, slower and without snapshots, and "
     "leave\n"
     "                               their profiles there\n"
     "      --cache-dir DIR          where compiled code is kept\n"
     "  -O, --optimize LEVEL         as for compile\n"
     "      --max-tenants N          tenant processes of all apps (default: 10000)\n"
     "      --spares N               tenants ready for any app (default: 2)\n"
     "      --prepared N             tenants ready for apps started lately (default: 2)\n"
     "      --cgroup DIR             control group for server and tenants; auto (default): "
     "the\n"
     "                               one that systemd delegates; off\n"
     "      --keep-free SIZE         idle instances are hibernated while less memory is left\n"
     "                               (default: a twentieth of the machine's; 0: never)\n"
     "      --max-hibernated SIZE    of all hibernated instances (default: 16G; 0: no limit)\n"
     "      --max-connections N      clients at a time (default: 8192)\n"
     "      --max-header SIZE        of a request (default: 32K)\n"
     "      --max-request-line SIZE  its first line (default: 8K)\n"
     "      --header-timeout TIME    for a whole head (default: 10s)\n"
     "      --body-timeout TIME      without a byte of a body (default: 30s)\n"
     "      --write-timeout TIME     without a byte taken of an answer (default: 30s)\n"
     "      --idle-timeout TIME      between requests (default: 60s)\n"
     "      --drain-timeout TIME     at the end, for requests under way (default: 30s)\n",
     "  hutch serve app.yaml\n"
     "  hutch serve --listen :80 --admin 127.0.0.1:9180 /etc/hutch/apps\n"
     "  hutch serve --fastcgi-listen unix:/run/hutch/fastcgi.sock --listen 127.0.0.1:8080 "
     "apps\n",
     "Exit status: 0 where it was told to end, 1 where it could not start, 2 a mistake on the\n"
     "command line.\n",
     'I'},
};

static const struct {
    char letter;
    const char *name, *argument, *commands, *text;
} rows[] = {
#define OPTION(id, letter, name, argument, commands, text)                                     \
    {letter, name, argument, commands, text},
#include "tools/options.def"
};

static void print_options(char command) {
    printf("\nOptions:\n");
    for (size_t i = 0; i < countof(rows); i++) {
        if (!strchr(rows[i].commands, command)) continue;
        char left[60], letter[8] = "    ";
        if (rows[i].letter) snprintf(letter, sizeof letter, "-%c, ", rows[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, rows[i].name,
                 rows[i].argument ? " " : "", rows[i].argument ? rows[i].argument : "");
        if (strlen(left) > 26)
            printf("  %s\n  %-26s  %s\n", left, "", rows[i].text);
        else
            printf("  %-26s  %s\n", left, rows[i].text);
    }
}

bool help_has(const char *command) {
    for (size_t i = 0; i < countof(helps); i++)
        if (strcmp(helps[i].command, command) == 0) return true;
    return false;
}

void help_print(const char *command) {
    const struct help *help = NULL;
    for (size_t i = 0; command && i < countof(helps); i++)
        if (strcmp(helps[i].command, command) == 0) help = &helps[i];
    if (!help) {
        fputs(overview, stdout);
        return;
    }
    fputs(help->usage, stdout);
    if (help->letter != 'I') print_options(help->letter); /* inspect has its own */
    printf("\nExamples:\n%s\n%s", help->examples, help->notes);
}
