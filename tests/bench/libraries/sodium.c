/* libsodium: BLAKE2b, SHA-512, ChaCha20-Poly1305, and Ed25519 signatures, in their portable C.
 */
#include "text.h"

#include <sodium.h>

enum {
    SIZE = 200000
};
static unsigned char text[SIZE], box[SIZE + 16], secret[64], public[32];
static const unsigned char key[32] = "a key", nonce[12] = "a nonce";

static void kernel_prepare(void) {
    text_fill((char *)text, SIZE);
    crypto_sign_seed_keypair(public, secret, key);
}

static uint64_t kernel_run(void) {
    unsigned char hash[64], signature[64];
    unsigned long long length = 0;
    uint64_t sum = 0;
    crypto_generichash(hash, 32, text, SIZE, NULL, 0);
    sum = kernel_mix(sum, hash[0]);
    crypto_hash_sha512(hash, text, SIZE);
    sum = kernel_mix(sum, hash[9]);
    crypto_aead_chacha20poly1305_ietf_encrypt(box, &length, text, SIZE, NULL, 0, NULL, nonce,
                                              key);
    sum = kernel_mix(sum, box[SIZE + 3]);
    for (int i = 0; i < 4; i++) {
        crypto_sign_detached(signature, &length, hash, 64, secret);
        sum = kernel_mix(sum, signature[40]);
        sum += (uint64_t)crypto_sign_verify_detached(signature, hash, 64, public) + 1;
    }
    return sum;
}
