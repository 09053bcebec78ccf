/*
 * Signatures of a statement <-> JSON, and what they are worth here.
 *
 * Signed are these 98 bytes, so that no signature made for another purpose can be taken for one
 * of a bundle:
 *
 *     hutch bundle signature v1\n
 *     sha256:<64 hex digits of the statement>\n
 *
 * A signature names its key by id and does not bring it along: whose it is, only the trust
 * directory says.
 */
#include "cache/bundle.h"

static void signed_text(const struct digest *statement, char ret_text[128]) {
    char digest[OCI_DIGEST_SIZE];
    oci_digest_text(statement, digest);
    snprintf(ret_text, 128, "hutch bundle signature v1\n%s\n", digest);
}

enum status bundle_signature_print(const struct digest *statement,
                                   const struct sign_secret *secret, struct buffer *b,
                                   struct error *err) {
    struct sign_public key;
    struct signature signature;
    char text[128], id_text[OCI_DIGEST_SIZE], statement_text[OCI_DIGEST_SIZE];
    signed_text(statement, text);
    enum status status = sign_public_of(secret, &key, err);
    if (status == ST_OK) status = sign_make(secret, text, strlen(text), &signature, err);
    if (status != ST_OK) return status;
    struct digest id = sign_key_id(&key);
    oci_digest_text(&id, id_text);
    oci_digest_text(statement, statement_text);
    char hex[2 * sizeof signature.bytes + 1];
    for (size_t i = 0; i < sizeof signature.bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", signature.bytes[i]);
    return oci_json_print(json_pack("{s:s, s:s, s:s, s:s}", "algorithm", "ed25519", "key",
                                    id_text, "statement", statement_text, "signature", hex),
                          b, err);
}

static bool read_signature(const json_t *value, struct signature *ret_signature) {
    char hex[2 * sizeof ret_signature->bytes + 1];
    if (!oci_json_string(value, "signature", hex, sizeof hex) || strlen(hex) + 1 != sizeof hex)
        return false;
    for (size_t i = 0; i < sizeof hex - 1; i++) {
        const char *digits = "0123456789abcdef", *found = strchr(digits, hex[i]);
        if (!found) return false;
        uint8_t *byte = &ret_signature->bytes[i / 2];
        *byte = (uint8_t)(*byte << 4 | (found - digits));
    }
    return true;
}

static enum status judge(const struct digest *key, const struct digest *statement,
                         const struct signature *signature, const struct trust *trust,
                         struct bundle_signer *signer, struct error *err) {
    const struct trust_key *known = trust_find(trust, key);
    char hex[DIGEST_HEX_SIZE], text[128];
    digest_hex(key, hex);
    signed_text(statement, text);
    if (known && known->revoked)
        return error_set(err, ST_INCOMPATIBLE,
                         "the bundle is signed with the key %s%s%s, which was revoked", hex,
                         known->name[0] ? " " : "", known->name);
    if (!known || !known->has_key) {
        if (signer->trust == BUNDLE_UNSIGNED) {
            signer->trust = BUNDLE_UNKNOWN_KEY;
            signer->key = *key;
        }
        return ST_OK;
    }
    if (!sign_holds(&known->key, text, strlen(text), signature))
        return error_set(err, ST_DAMAGED,
                         "the signature is not one of the key %s (%s) over this bundle",
                         known->name, hex);
    if (signer->trust != BUNDLE_TRUSTED) {
        signer->trust = BUNDLE_TRUSTED;
        signer->key = *key;
        memcpy(signer->name, known->name, sizeof signer->name);
    }
    return ST_OK;
}

enum status bundle_signature_judge(const struct buffer *b, const struct digest *statement,
                                   const struct trust *trust, struct bundle_signer *signer,
                                   struct error *err) {
    json_t *value = NULL;
    enum status status = oci_json_parse(b->bytes, b->size, "a signature", &value, err);
    if (status != ST_OK) return status;
    char algorithm[32];
    struct digest key, over;
    struct signature signature = {0};
    if (!oci_json_string(value, "algorithm", algorithm, sizeof algorithm) ||
        !oci_json_digest(value, "key", &key) || !oci_json_digest(value, "statement", &over) ||
        !read_signature(value, &signature))
        status = error_set(err, ST_MALFORMED, "a signature is damaged");
    else if (strcmp(algorithm, "ed25519") != 0)
        status = error_set(err, ST_UNSUPPORTED, "a signature by '%s', only ed25519 is known",
                           algorithm);
    else if (!digest_equal(&over, statement))
        status = error_set(err, ST_DAMAGED,
                           "the signature is over another statement than the bundle's");
    json_decref(value);
    return status == ST_OK ? judge(&key, statement, &signature, trust, signer, err) : status;
}
