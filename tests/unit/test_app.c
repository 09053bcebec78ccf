/* app.yaml: what is read, what is refused and in which line; JSON and back; scripts by path. */
#include "serve/app.h"
#include "tests/unit/test.h"

static struct app *parse(const char *text, struct error *err) {
    struct app *app = NULL;
    *err = (struct error){0};
    if (app_parse(text, strlen(text), "app.yaml", "etc", &app, err) != ST_OK) return NULL;
    return app;
}

static void test_refused(void) {
    static const struct {
        const char *text, *message; /* the beginning of it */
    } cases[] = {
        {"", "app.yaml:1: the file is empty"},
        {"- a\n", "app.yaml:1: must be a mapping"},
        {"name: a\n", "app.yaml:1: module: is missing"},
        {"module: a.wasm\n", "app.yaml:1: name: is missing"},
        {"name: a\nname: b\n", "app.yaml:2: key 'name' is given twice, first on line 1"},
        {"name: A\nmodule: a.wasm\n", "app.yaml:1: name: 'A' is no name"},
        {"name: -a\nmodule: a.wasm\n", "app.yaml:1: name: '-a' is no name"},
        {"name: a\nmodule: a.wasm\npackage: b\n",
         "app.yaml:3: 'package' means the same as 'module' on line 2"},
        {"name: a\nmodule: .\n", "app.yaml:2: module: '.' means a wasmer.toml"},
        {"name: a\nmodule: UPPER\n", "app.yaml:2: module: 'UPPER' is neither"},
        {"name: a\nmodule: sha256:12\n", "app.yaml:2: module: 'sha256:12': sha256: has 64"},
        {"name: a\nmodule: [a]\n", "app.yaml:2: module: this is a list"},
        {"name: a\nmodule: a.wasm\nkind: other\n", "app.yaml:3: kind: 'other' is none of"},
        {"name: a\nmodule: a.wasm\ninterfaces: cgi\n",
         "app.yaml:3: unknown key 'interfaces', did you mean 'interface'?"},
        {"name: a\nmodule: a.wasm\nmemory: 1M\n",
         "app.yaml:3: unknown key 'memory' (there is limits.memory)"},
        {"name: a\nmodule: a.wasm\ninterface: tcp\n",
         "app.yaml:3: interface: 'tcp' is none of cgi, fastcgi or http"},
        {"name: a\nmodule: a.wasm\nlimits:\n  memory: 12Q\n",
         "app.yaml:4: limits.memory: '12Q' is no size"},
        {"name: a\nmodule: a.wasm\nlimits:\n  memory: 5G\n",
         "app.yaml:4: limits.memory: from 64K to 4G"},
        {"name: a\nmodule: a.wasm\nlimits: {memory: 99999999999999999999}\n",
         "app.yaml:3: limits.memory: '99999999999999999999' is no size"},
        {"name: a\nmodule: a.wasm\nlimits: {cpu: -1s}\n", "app.yaml:3: limits.cpu: '-1s' is"},
        {"name: a\nmodule: a.wasm\nlimits: {cpu: 1y}\n", "app.yaml:3: limits.cpu: '1y' is no"},
        {"name: a\nmodule: a.wasm\nlimits: {cpu: 0}\n", "app.yaml:3: limits.cpu: 0 leaves"},
        {"name: a\nmodule: a.wasm\nlimits: {instances: 1.5}\n",
         "app.yaml:3: limits.instances: '1.5' is no whole number"},
        {"name: a\nmodule: a.wasm\ndebug: yes\n", "app.yaml:3: debug: 'yes' is neither"},
        {"name: a\nmodule: a.wasm\nenv: {A=B: c}\n", "app.yaml:3: env.A=B: 'A=B' is no name"},
        {"name: a\nmodule: a.wasm\nenv: [A]\n", "app.yaml:3: env[0]: 'A': give NAME=VALUE"},
        {"name: a\nmodule: a.wasm\nenv: {HTTP_PROXY: c}\n",
         "app.yaml:3: env.HTTP_PROXY: names"},
        {"name: a\nmodule: a.wasm\nenv: {A: 1}\nsecrets: {A: f}\n",
         "app.yaml:4: secrets: A is given twice"},
        {"name: a\nmodule: a.wasm\nmounts:\n  - source: x\n",
         "app.yaml:4: mounts[0].path: is missing"},
        {"name: a\nmodule: a.wasm\nmounts:\n  - {source: x, path: rel}\n",
         "app.yaml:4: mounts[0].path: 'rel' must be absolute"},
        {"name: a\nmodule: a.wasm\nmounts:\n  - {source: x, path: /a/../b}\n",
         "app.yaml:4: mounts[0].path: '/a/../b' may not hold"},
        {"name: a\nmodule: a.wasm\nmounts:\n  - {source: x, path: /a}\n  - {source: y, path: "
         "/a/}\n",
         "app.yaml:5: mounts[1]: /a is given twice"},
        {"name: a\nmodule: a.wasm\nmounts: {/a: x}\nvolumes: [{path: /a}]\n",
         "app.yaml:4: volumes[0]: /a is also a mount; a private volume would be"},
        {"name: a\nmodule: a.wasm\nvolumes:\n  - {path: /t, kind: private, size: 1G}\n",
         "app.yaml:4: volumes[0]: private volumes are larger than limits.memory"},
        {"name: a\nmodule: a.wasm\nroutes: [http://a.example/]\n",
         "app.yaml:3: routes[0]: 'http:' is no host"},
        {"name: a\nmodule: a.wasm\nroutes: [a.example/x?y]\n", "app.yaml:3: routes[0]: '/x?y'"},
        {"name: a\nmodule: a.wasm\nroutes: [a.example, A.example/]\n",
         "app.yaml:3: routes: a.example/ is given twice"},
        {"name: a\nmodule: a.wasm\nreuse: keep\n", "app.yaml:3: reuse: keep needs"},
        {"name: a\nmodule: a.wasm\ninterface: http\nreuse: reset\ninstaboot: false\n",
         "app.yaml:5: instaboot: false, but"},
        {"name: a\nmodule: a.wasm\ninstaboot: true\ncapabilities:\n  instaboot: {}\n",
         "app.yaml:5: capabilities.instaboot: the key instaboot says the same"},
        {"name: a\nmodule: a.wasm\nlimits: {memory: 1M}\ncapabilities:\n  memory: {limit: "
         "1M}\n",
         "app.yaml:5: capabilities.memory.limit: limits.memory says the same"},
        {"name: a\nmodule: a.wasm\ninstaboot:\n  requests:\n    - path: x\n",
         "app.yaml:5: instaboot.requests[0].path: 'x' must begin with /"},
        {"name: a\nmodule: a.wasm\ninstaboot:\n  requests:\n    - headers: {\"A b\": c}\n",
         "app.yaml:5: instaboot.requests[0].headers.A b: 'A b' is no name"},
        {"name: a\nmodule: a.wasm\ninstaboot:\n  requests:\n    - headers: {A: \"b\\r\\nc\"}\n",
         "app.yaml:5: instaboot.requests[0].headers.A: a header's value is one line"},
        {"name: a\nmodule: a.wasm\nsite: {root: /srv}\n", "app.yaml:3: site.root: /srv is in"},
        {"name: a\nmodule: a.wasm\ninterface: http\nmounts: {/srv: x}\nsite: {root: /srv}\n",
         "app.yaml:5: site: scripts are run by"},
        {"a: &x 1\n", "app.yaml:1: anchors and aliases"},
        {"a: *x\n", "app.yaml:1: anchors and aliases"},
        {"<<: {a: b}\n", "app.yaml:1: merge keys"},
        {"a: !!binary x\n", "app.yaml:1: tags"},
        {"? [a]\n: b\n", "app.yaml:1: a key must be a word"},
        {"a: \"\\0\"\n", "app.yaml:1: a text may not hold the character U+0000"},
        {"a: 1\n---\nb: 1\n", "app.yaml:2: only one document"},
        {"a: [\n", "app.yaml:2: "},
        {"a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n", "app.yaml:1: nested too deeply"},
        {"a: \"\xff\"\n", "app.yaml:1: "},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct error err = {0};
        struct app *app = parse(cases[i].text, &err);
        bool right = !app && err.status == ST_INVALID &&
                     strncmp(err.message, cases[i].message, strlen(cases[i].message)) == 0;
        if (!right) printf("case %zu: %s\n  got: %s\n", i, cases[i].message, err.message);
        EXPECT(right);
        app_free(app);
    }
}

/* What grows with the file ends before memory does. */
static void test_large(void) {
    struct error err = {0};
    struct app *app = NULL;
    auto_buffer struct buffer b = {0};
    for (int i = 0; i < 1200; i++) buffer_printf(&b, "k%d: 1\n", i);
    EXPECT(app_parse(b.bytes, b.size, "app.yaml", "", &app, &err) == ST_INVALID);
    EXPECT_STR(err.message, "app.yaml:1001: a mapping has more than 1000 keys");
    b.size = 0;
    buffer_printf(&b, "args: [");
    for (int i = 0; i < 21000; i++) buffer_printf(&b, "1,");
    EXPECT(app_parse(b.bytes, b.size, "app.yaml", "", &app, &err) == ST_INVALID);
    EXPECT_STR(err.message, "app.yaml:1: more than 20000 values");
    b.size = 0;
    for (int i = 0; i < 100000; i++) buffer_printf(&b, "[");
    EXPECT(app_parse(b.bytes, b.size, "app.yaml", "", &app, &err) == ST_INVALID);
    buffer_put_zero(&b, APP_FILE_MAX_BYTES);
    EXPECT(app_parse(b.bytes, b.size, "app.yaml", "", &app, &err) == ST_INVALID);
    EXPECT_STR(err.message, "app.yaml: is larger than 256 KiB");
}

static const char full[] =
    "kind: wasmer.io/App.v0\n"
    "name: shop\n"
    "package: wasmer/python:3.11\n"
    "interface: fastcgi\n"
    "owner: me\n"
    "cli_args: [-m, hutch_wsgi, 3.10, no]\n"
    "env: {A: no, B: , C: \"a \\\" \\n b\"}\n"
    "secrets: {KEY: keys/k}\n"
    "mounts: {/srv/: ./site, /lib: /abs/lib.erofs}\n"
    "volumes:\n"
    "  - {name: data, mount: /data}\n"
    "  - {path: /tmp, kind: private, size: 16MiB}\n"
    "domains: [Shop.Example]\n"
    "routes: [other.example/a/, {host: \"*.x.example\", path: /b}]\n"
    "capabilities:\n"
    "  memory: {limit: 512M}\n"
    "  instaboot:\n"
    "    requests:\n"
    "      - path: /\n"
    "      - {path: /b?x=1, method: POST, headers: [{name: X, value: y}],\n"
    "         body: '{}', expect: {status_codes: [200, 302]}}\n"
    "limits: {cpu: 1.5s, wall: 2m, body: 0}\n"
    "site: {root: /srv/www, fallback: /index.php}\n"
    "hibernate: {idle: 1h, survives: reboot}\n";

static void test_read(void) {
    struct error err = {0};
    struct app *app = parse(full, &err);
    EXPECT_STR(err.message, "");
    EXPECT(app != NULL);
    if (!app) return;
    EXPECT_STR(app->name, "shop");
    EXPECT(app->module.kind == APP_MODULE_NAME);
    EXPECT_STR(app->argv0, "python");
    EXPECT(app->args.count == 4);
    EXPECT_STR(app->args.items[2], "3.10");
    EXPECT_STR(app->env[0].value, "no");
    EXPECT_STR(app->env[1].value, "");
    EXPECT_STR(app->env[2].value, "a \" \n b");
    EXPECT_STR(app->secrets[0].file, "etc/keys/k");
    EXPECT_STR(app->mounts[0].path, "/srv");
    EXPECT_STR(app->mounts[0].source, "etc/site");
    EXPECT_STR(app->mounts[1].source, "/abs/lib.erofs");
    EXPECT(app->volumes[0].kind == APP_PERSISTENT && app->volumes[0].size_bytes == 1u << 30);
    EXPECT(app->volumes[1].kind == APP_PRIVATE && app->volumes[1].size_bytes == 16u << 20);
    EXPECT(app->route_count == 3);
    EXPECT_STR(app->routes[0].host, "shop.example");
    EXPECT_STR(app->routes[1].path, "/a");
    EXPECT(app->limits.memory_bytes == 512u << 20 && app->limits.cpu_ns == 1500000000);
    EXPECT(app->limits.wall_ns == 120000000000 && app->limits.body_bytes == 0);
    EXPECT(app->limits.instances == 16 && app->limits.queue == 128);
    EXPECT(app->reuse == APP_KEEP && app->instaboot.enabled);
    EXPECT(app->instaboot.request_count == 2);
    EXPECT(app->instaboot.requests[1].expect.statuses[1] == 302);
    EXPECT(app->instaboot.requests[1].body_size == 2);
    EXPECT(app->hibernate.survives == APP_SURVIVE_REBOOT);
    EXPECT(app->note_count == 1 && app->notes[0].line == 5);
    app_free(app);

    /* What is left out, by interface. */
    app = parse("name: a\nmodule: b/c.wasm\n", &err);
    EXPECT(app && app->interface == APP_CGI && app->reuse == APP_FRESH &&
           app->route_count == 1);
    EXPECT(app && strcmp(app->argv0, "c.wasm") == 0 && !app->instaboot.enabled);
    EXPECT(app && strcmp(app->module.text, "etc/b/c.wasm") == 0);
    app_free(app);
    app = parse("name: a\nmodule: b.wasm\ninterface: http\nreuse: reset\n", &err);
    EXPECT(app && app->reuse == APP_RESET && app->instaboot.enabled);
    app_free(app);
}

static void test_json(void) {
    struct error err = {0};
    struct app *app = parse(full, &err), *again = NULL;
    auto_buffer struct buffer first = {0}, second = {0};
    EXPECT(app && app_json(app, &first, &err) == ST_OK);
    EXPECT(app_parse(first.bytes, first.size, "a.json", "", &again, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    EXPECT(again && app_json(again, &second, &err) == ST_OK);
    EXPECT(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    app_free(app);
    app_free(again);
}

static void test_conflicts(void) {
    struct error err = {0};
    struct app *a = parse("name: a\nmodule: a.wasm\n", &err);
    struct app *b = parse("name: b\nmodule: a.wasm\nroutes: [b.example]\n", &err);
    struct app *c = parse("name: a\nmodule: a.wasm\nroutes: [c.example]\n", &err);
    struct app *d = parse("name: d\nmodule: a.wasm\nroutes: [/, /d]\n", &err);
    EXPECT(a && b && c && d);
    EXPECT(app_conflicts((struct app *[]){a, b}, 2, &err) == ST_OK);
    EXPECT(app_conflicts((struct app *[]){a, b, c}, 3, &err) == ST_INVALID &&
           strstr(err.message, "'a' is also the name"));
    EXPECT(app_conflicts((struct app *[]){b, d, a}, 3, &err) == ST_INVALID &&
           strstr(err.message, "(any host)/ is also a route of app d"));
    app_free(a);
    app_free(b);
    app_free(c);
    app_free(d);
}

static enum app_file_kind lookup(void *context, const char *path) {
    (*(int *)context)++;
    static const char *const files[] = {
        "/srv/index.php", "/srv/blog/index.php", "/srv/a.css",        "/srv/blog/p.php",
        "/srv/photo.jpg", "/srv/.htaccess",      "/srv/.well-known/x"};
    static const char *const directories[] = {"/srv", "/srv/", "/srv/blog", "/srv/.well-known",
                                              "/srv/empty"};
    for (size_t i = 0; i < countof(files); i++)
        if (strcmp(path, files[i]) == 0) return APP_FILE_REGULAR;
    for (size_t i = 0; i < countof(directories); i++)
        if (strcmp(path, directories[i]) == 0) return APP_FILE_DIRECTORY;
    return APP_FILE_NONE;
}

static void test_site(void) {
    static const char *const index[] = {"index.php", "index.html"}, *const scripts[] = {".php"};
    static const struct {
        const char *path, *front; /* without and with a fallback */
        const char *expect;
    } cases[] = {
        {"/", "", "script /srv/index.php /index.php []"},
        {"/index.php", "", "script /srv/index.php /index.php []"},
        {"/index.php/a/b", "", "script /srv/index.php /index.php [/a/b]"},
        {"/blog", "", "directory"},
        {"/blog/", "", "script /srv/blog/index.php /blog/index.php []"},
        {"/blog/p.php/", "", "script /srv/blog/p.php /blog/p.php [/]"},
        {"/a.css", "", "file /srv/a.css"},
        {"/a.css/x.php", "", "none"},
        {"/photo.jpg/x.php", "/index.php",
         "script /srv/index.php /index.php [/photo.jpg/x.php]"},
        {"/none", "", "none"},
        {"/none/at/all", "/index.php", "script /srv/index.php /index.php [/none/at/all]"},
        {"/empty/", "", "none"},
        {"/none.php", "", "none"},
        {"/.htaccess", "/index.php", "none"},
        {"/.well-known/x", "", "file /srv/.well-known/x"},
        {"/.well-known/.x", "/index.php", "none"},
        {"/blog/../a.css", "/index.php", "none"},
        {"//index.php", "", "none"},
        {"index.php", "", "none"},
        {"", "", "none"},
        {"/x", "/gone.php", "none"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct app_site site = {.root = "/srv",
                                .index = {(const char **)(uintptr_t)index, 2},
                                .scripts = {(const char **)(uintptr_t)scripts, 1},
                                .fallback = cases[i].front,
                                .serve_files = true};
        struct app_target t;
        char text[9000];
        int calls = 0;
        app_site_find(&site, cases[i].path, lookup, &calls, &t);
        if (t.kind == APP_TARGET_SCRIPT)
            snprintf(text, sizeof text, "script %.1000s %.1000s [%.1000s]", t.guest_path,
                     t.script_name, t.path_info);
        else if (t.kind == APP_TARGET_FILE)
            snprintf(text, sizeof text, "file %.1000s", t.guest_path);
        else
            snprintf(text, sizeof text, t.kind == APP_TARGET_NONE ? "none" : "directory");
        EXPECT_STR(text, cases[i].expect);
        EXPECT(calls < 8);
    }
    /* Long paths end in "not found". */
    struct app_site site = {.root = "/srv", .fallback = "/index.php", .serve_files = true};
    static char path[10000];
    for (size_t i = 0; i < 5000; i += 2) memcpy(path + i, "/a", 3);
    struct app_target t;
    int calls = 0;
    app_site_find(&site, path, lookup, &calls, &t);
    EXPECT(t.kind == APP_TARGET_NONE && calls == 0);
}

int main(void) {
    test_refused();
    test_large();
    test_read();
    test_json();
    test_conflicts();
    test_site();
    return test_end();
}
