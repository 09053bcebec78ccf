/* Writes the fixture's code object: a seed for the harness that reads objects. Arguments: the
 * file to write, then the three relocatable objects. */
#include "tests/unit/object_fixture.h"

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer object = {0};
    if (fixture_link(&m, ABI_PINNED, argv + 2, 3, &object, &err) != ST_OK ||
        file_publish(AT_FDCWD, argv[1], object.bytes, object.size, 0644, &err) != ST_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
