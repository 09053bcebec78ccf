/* SQLite: a database in memory is filled, indexed, joined, searched and thinned. */
#include "tests/bench/kernels/kernel.h"

#include <sqlite3.h>

static const char *const statements[] = {
    "CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, age INT, city INT)",
    "CREATE TABLE cities(id INTEGER PRIMARY KEY, name TEXT)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) "
    "INSERT INTO cities SELECT i, 'city ' || i FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000) "
    "INSERT INTO people SELECT i, printf('%x', i * 7919 % 65537), i * 31 % 90, i % 50 + 1 FROM "
    "n",
    "CREATE INDEX by_name ON people(name)",
    "SELECT c.name, count(*), avg(p.age) FROM people p JOIN cities c ON c.id = p.city "
    "GROUP BY c.id ORDER BY 3 DESC, 1",
    "SELECT count(*) FROM people WHERE name LIKE '%ab%' OR name GLOB '1*f'",
    "SELECT p.name FROM people p WHERE p.age > (SELECT avg(age) FROM people WHERE city = "
    "p.city) "
    "AND p.id % 97 = 0 ORDER BY p.name",
    "UPDATE people SET age = age + 1 WHERE name < '8'",
    "SELECT sum(length(name) * age), max(substr(name, 2)), min(upper(name)) FROM people",
    "SELECT name, row_number() OVER (PARTITION BY city ORDER BY age DESC, id) FROM people "
    "ORDER BY 2, 1 LIMIT 200",
    "DELETE FROM people WHERE id % 3 = 0",
    "SELECT count(*), sum(age) FROM people",
};

static void kernel_prepare(void) {}

static int add(void *to, int columns, char **values, char **names) {
    uint64_t *sum = to;
    (void)names;
    for (int i = 0; i < columns; i++)
        for (const char *p = values[i]; p && *p; p++) *sum = kernel_mix(*sum, (uint8_t)*p);
    return 0;
}

static uint64_t kernel_run(void) {
    sqlite3 *db = NULL;
    uint64_t sum = 0;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) abort();
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        char *message = NULL;
        if (sqlite3_exec(db, statements[i], add, &sum, &message) != SQLITE_OK) {
            fprintf(stderr, "%s\n", message);
            abort();
        }
    }
    sqlite3_close(db);
    return sum;
}
