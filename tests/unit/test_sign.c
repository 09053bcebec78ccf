/*
 * Ed25519 against the vectors of RFC 8032 7.1, keys in files, and the trust directory: what
 * counts there, what wins, who may write to it.
 */
#include "cache/cache.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/hutch-test-sign-XXXXXX";

static size_t from_hex(const char *hex, uint8_t *bytes) {
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned value = 0;
        if (sscanf(hex + 2 * i, "%2x", &value) != 1) return 0;
        bytes[i] = (uint8_t)value;
    }
    return n;
}

static void test_vectors(void) {
    static const struct {
        const char *secret, *public, *message, *signature;
    } vectors[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3"
         "9"
         "701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3"
         "6"
         "13d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f"
         "7"
         "60984dc6594a7c15e9716ed28dc027beceea1ec40a"},
    };
    for (size_t i = 0; i < countof(vectors); i++) {
        struct error err = {0};
        struct sign_secret secret;
        struct sign_public public, derived;
        struct signature expected, made;
        uint8_t message[8];
        EXPECT(from_hex(vectors[i].secret, secret.bytes) == 32);
        EXPECT(from_hex(vectors[i].public, public.bytes) == 32);
        EXPECT(from_hex(vectors[i].signature, expected.bytes) == 64);
        size_t size = from_hex(vectors[i].message, message);
        EXPECT(sign_public_of(&secret, &derived, &err) == ST_OK);
        EXPECT(memcmp(&derived, &public, sizeof public) == 0);
        EXPECT(sign_make(&secret, message, size, &made, &err) == ST_OK);
        EXPECT(memcmp(&made, &expected, sizeof made) == 0);
        EXPECT(sign_holds(&public, message, size, &expected));
        for (size_t bit = 0; bit < 512; bit++) {
            struct signature bad = expected;
            bad.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            EXPECT(!sign_holds(&public, message, size, &bad));
        }
        message[size] = 0;
        EXPECT(!sign_holds(&public, message, size + 1, &expected));
    }
}

static char *in_directory(const char *name) {
    static char paths[4][200];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static struct sign_public new_key(const char *name, struct sign_secret *ret_secret) {
    struct error err = {0};
    struct sign_public public = {0};
    char file[80];
    snprintf(file, sizeof file, "%s.pub", name);
    EXPECT(sign_generate(ret_secret, &err) == ST_OK);
    EXPECT(sign_public_of(ret_secret, &public, &err) == ST_OK);
    EXPECT(sign_public_write(in_directory(file), &public, &err) == ST_OK);
    return public;
}

static void test_files(void) {
    struct error err = {0};
    struct sign_secret secret, again;
    struct sign_public public = new_key("one", &secret), read = {0};
    char *path = in_directory("one.key");
    EXPECT(sign_secret_write(path, &secret, &err) == ST_OK);
    struct stat st;
    EXPECT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    EXPECT(sign_secret_read(path, &again, &err) == ST_OK);
    EXPECT(memcmp(&again, &secret, sizeof secret) == 0);
    EXPECT(sign_public_read(AT_FDCWD, in_directory("one.pub"), &read, &err) == ST_OK);
    EXPECT(memcmp(&read, &public, sizeof read) == 0);
    /* never over another file, and never one that others can read */
    EXPECT(sign_secret_write(path, &secret, &err) == ST_IO && strstr(err.message, "already"));
    EXPECT(chmod(path, 0640) == 0);
    EXPECT(sign_secret_read(path, &again, &err) == ST_IO && strstr(err.message, "others"));
    EXPECT(chmod(path, 0600) == 0);
    /* a public key is no private one, and the other way round */
    EXPECT(chmod(in_directory("one.pub"), 0600) == 0);
    EXPECT(sign_secret_read(in_directory("one.pub"), &again, &err) == ST_MALFORMED);
    EXPECT(sign_public_read(AT_FDCWD, path, &read, &err) == ST_MALFORMED);
    EXPECT(sign_public_read(AT_FDCWD, in_directory("none.pub"), &read, &err) == ST_IO);
    /* a key of another kind */
    static const char p256[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
        "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
        "-----END PUBLIC KEY-----\n";
    EXPECT(file_publish(AT_FDCWD, in_directory("p256.pem"), p256, sizeof p256 - 1, 0644,
                        &err) == ST_OK);
    EXPECT(sign_public_read(AT_FDCWD, in_directory("p256.pem"), &read, &err) == ST_MALFORMED);
}

static void test_trust(void) {
    struct error err = {0};
    struct sign_secret secret;
    struct sign_public a = new_key("a", &secret), b = new_key("b", &secret);
    struct digest id_a = sign_key_id(&a), id_b = sign_key_id(&b);
    char *places = in_directory("etc/trust.d");
    struct trust trust = {0};
    EXPECT(trust_load(places, &trust, &err) == ST_OK && trust.count == 0); /* none is none */
    EXPECT(trust_add(places, "a", &a, &err) == ST_OK);
    EXPECT(trust_add(places, "ci-2026", &b, &err) == ST_OK);
    EXPECT(trust_add(places, "again", &a, &err) == ST_OK); /* there already */
    EXPECT(trust_add(places, "../b", &b, &err) == ST_USAGE);
    EXPECT(trust_add(places, ".b", &b, &err) == ST_USAGE);
    EXPECT(trust_load(places, &trust, &err) == ST_OK && trust.count == 2);
    const struct trust_key *found = trust_find(&trust, &id_b);
    EXPECT(found && found->has_key && !found->revoked && strcmp(found->name, "ci-2026") == 0);
    trust_finish(&trust);

    EXPECT(trust_revoke(places, &id_a, "lost", &err) == ST_OK);
    EXPECT(trust_load(places, &trust, &err) == ST_OK);
    found = trust_find(&trust, &id_a);
    EXPECT(found && found->revoked && strcmp(found->name, "a") == 0);
    found = trust_find(&trust, &id_b);
    EXPECT(found && !found->revoked);
    trust_finish(&trust);
    EXPECT(trust_add(places, "a2", &a, &err) == ST_INCOMPATIBLE &&
           strstr(err.message, "revoked"));

    /* what does not belong, and what others could have written */
    char path[260];
    snprintf(path, sizeof path, "%s/notes.txt", places);
    EXPECT(file_publish(AT_FDCWD, path, "x", 1, 0644, &err) == ST_OK);
    EXPECT(trust_load(places, &trust, &err) == ST_OK && trust.count == 2);
    trust_finish(&trust);
    snprintf(path, sizeof path, "%s/bad.pub", places);
    EXPECT(file_publish(AT_FDCWD, path, "x", 1, 0644, &err) == ST_OK);
    EXPECT(trust_load(places, &trust, &err) == ST_MALFORMED);
    trust_finish(&trust);
    EXPECT(unlink(path) == 0);
    EXPECT(symlink(in_directory("b.pub"), path) == 0);
    EXPECT(trust_load(places, &trust, &err) == ST_DAMAGED);
    trust_finish(&trust);
    EXPECT(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/a.pub", places);
    EXPECT(chmod(path, 0666) == 0);
    EXPECT(trust_load(places, &trust, &err) == ST_DAMAGED);
    trust_finish(&trust);
    EXPECT(chmod(path, 0644) == 0 && chmod(places, 0777) == 0);
    EXPECT(trust_load(places, &trust, &err) == ST_DAMAGED && strstr(err.message, "others"));
    trust_finish(&trust);
}

int main(void) {
    umask(022);
    if (!mkdtemp(directory)) return 1;
    test_vectors();
    test_files();
    test_trust();
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0) return 1;
    return test_end();
}
