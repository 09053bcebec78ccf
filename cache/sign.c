/*
 * Ed25519 (RFC 8032) by libcrypto, and keys in files: the private one as PKCS#8 and the public
 * one as SubjectPublicKeyInfo, both PEM (RFC 8410), so that `openssl pkey` reads and makes
 * them.
 *
 * A private key is written once, mode 0600, never over another file, and refused where others
 * can read it. Secrets are wiped from the memory of this file before it returns.
 */
#include "cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_MAX_BYTES 16384u

static void free_key(EVP_PKEY **key) { EVP_PKEY_free(*key); }
static void free_context(EVP_MD_CTX **context) { EVP_MD_CTX_free(*context); }
static void free_bio(BIO **bio) { BIO_free(*bio); }
#define auto_key __attribute__((cleanup(free_key)))
#define auto_context __attribute__((cleanup(free_context)))
#define auto_bio __attribute__((cleanup(free_bio)))

/* libcrypto keeps a queue of its own errors: nothing of it may leak into the next call. */
static enum status crypto_failed(struct error *err, const char *what) {
    ERR_clear_error();
    return error_set(err, ST_INTERNAL, "libcrypto cannot %s", what);
}

static EVP_PKEY *private_key(const struct sign_secret *secret) {
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret->bytes,
                                        sizeof secret->bytes);
}

static EVP_PKEY *public_key(const struct sign_public *key) {
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->bytes, sizeof key->bytes);
}

/* ---- keys and signatures ----------------------------------------------------------------- */

enum status sign_generate(struct sign_secret *ret_secret, struct error *err) {
    if (RAND_priv_bytes(ret_secret->bytes, sizeof ret_secret->bytes) != 1)
        return crypto_failed(err, "make random bytes");
    return ST_OK;
}

void sign_secret_wipe(struct sign_secret *secret) {
    OPENSSL_cleanse(secret->bytes, sizeof secret->bytes);
}

enum status sign_public_of(const struct sign_secret *secret, struct sign_public *ret_key,
                           struct error *err) {
    auto_key EVP_PKEY *key = private_key(secret);
    size_t size = sizeof ret_key->bytes;
    if (!key || EVP_PKEY_get_raw_public_key(key, ret_key->bytes, &size) != 1 ||
        size != sizeof ret_key->bytes)
        return crypto_failed(err, "derive a public key");
    return ST_OK;
}

struct digest sign_key_id(const struct sign_public *key) {
    return digest_of(key->bytes, sizeof key->bytes);
}

enum status sign_make(const struct sign_secret *secret, const void *bytes, size_t size_bytes,
                      struct signature *ret_signature, struct error *err) {
    auto_key EVP_PKEY *key = private_key(secret);
    auto_context EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = sizeof ret_signature->bytes;
    if (!key || !context || EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1 ||
        EVP_DigestSign(context, ret_signature->bytes, &size, bytes, size_bytes) != 1 ||
        size != sizeof ret_signature->bytes)
        return crypto_failed(err, "sign");
    return ST_OK;
}

bool sign_holds(const struct sign_public *public, const void *bytes, size_t size_bytes,
                const struct signature *signature) {
    auto_key EVP_PKEY *key = public_key(public);
    auto_context EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool holds = key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
                 EVP_DigestVerify(context, signature->bytes, sizeof signature->bytes, bytes,
                                  size_bytes) == 1;
    ERR_clear_error();
    return holds;
}

/* ---- keys in files ----------------------------------------------------------------------- */

static enum status write_new(const char *path, unsigned mode, BIO *bio, struct error *err) {
    char *bytes = NULL;
    long size = BIO_get_mem_data(bio, &bytes);
    auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, ST_IO, "%s is there already, and a key is never replaced", path);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot write %s", path);
    for (long done = 0; done < size;) {
        ssize_t n = write(fd, bytes + done, (size_t)(size - done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            error_set_errno(err, ST_IO, "cannot write %s", path);
            unlink(path);
            return ST_IO;
        }
        done += n;
    }
    if (fsync(fd) < 0) {
        error_set_errno(err, ST_IO, "cannot write %s", path);
        unlink(path);
        return ST_IO;
    }
    return ST_OK;
}

enum status sign_secret_write(const char *path, const struct sign_secret *secret,
                              struct error *err) {
    auto_key EVP_PKEY *key = private_key(secret);
    auto_bio BIO *bio = BIO_new(BIO_s_secmem());
    if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return crypto_failed(err, "encode a private key");
    return write_new(path, 0600, bio, err);
}

enum status sign_public_write(const char *path, const struct sign_public *public,
                              struct error *err) {
    auto_key EVP_PKEY *key = public_key(public);
    auto_bio BIO *bio = BIO_new(BIO_s_mem());
    if (!key || !bio || PEM_write_bio_PUBKEY(bio, key) != 1)
        return crypto_failed(err, "encode a public key");
    return write_new(path, 0644, bio, err);
}

/* An encrypted key would otherwise make libcrypto ask on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *context) {
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

static enum status read_key_file(int dir_fd, const char *path, bool secret, struct buffer *b,
                                 struct error *err) {
    enum status status = file_read(dir_fd, path, KEY_FILE_MAX_BYTES, b, err);
    if (status != ST_OK) return status;
    struct stat st;
    if (secret && fstatat(dir_fd, path, &st, 0) == 0 && st.st_mode & (S_IRWXG | S_IRWXO))
        return error_set(err, ST_IO,
                         "%s can be read by others: make it 0600, and a new key where someone "
                         "may have read it",
                         path);
    return ST_OK;
}

enum status sign_secret_read(const char *path, struct sign_secret *ret_secret,
                             struct error *err) {
    struct buffer b = {0};
    enum status status = read_key_file(AT_FDCWD, path, true, &b, err);
    if (status == ST_OK) {
        auto_bio BIO *bio = BIO_new_mem_buf(b.bytes, (int)b.size);
        auto_key EVP_PKEY *key =
            bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        size_t size = sizeof ret_secret->bytes;
        if (!key || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 ||
            EVP_PKEY_get_raw_private_key(key, ret_secret->bytes, &size) != 1 ||
            size != sizeof ret_secret->bytes)
            status = error_set(err, ST_MALFORMED,
                               "%s holds no private Ed25519 key without a passphrase", path);
        ERR_clear_error();
    }
    if (b.bytes) OPENSSL_cleanse(b.bytes, b.capacity);
    buffer_finish(&b);
    return status;
}

enum status sign_public_read(int dir_fd, const char *path, struct sign_public *ret_key,
                             struct error *err) {
    auto_buffer struct buffer b = {0};
    enum status status = read_key_file(dir_fd, path, false, &b, err);
    if (status != ST_OK) return status;
    auto_bio BIO *bio = BIO_new_mem_buf(b.bytes, (int)b.size);
    auto_key EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL) : NULL;
    size_t size = sizeof ret_key->bytes;
    bool good = key && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 &&
                EVP_PKEY_get_raw_public_key(key, ret_key->bytes, &size) == 1 &&
                size == sizeof ret_key->bytes;
    ERR_clear_error();
    if (!good) return error_set(err, ST_MALFORMED, "%s holds no public Ed25519 key", path);
    return ST_OK;
}
