/*
 * _pbkdf2: the loop of PBKDF2-HMAC-SHA256 (RFC 8018, 5.2), which CPython takes from OpenSSL.
 * Python alone needs two seconds for what Django and Werkzeug ask of one password.
 *
 *     rounds(key, first, count) -> bytes
 *
 * key is the password as HMAC pads it (64 bytes), first the first U of a block (32 bytes). The
 * result is the exclusive or of it and of the count U that follow.
 */
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* FIPS 180-4, 4.2.2 */
/* clang-format off */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
/* clang-format on */

struct state {
    uint32_t words[8];
};
static const struct state start = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                    0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};

static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

/* FIPS 180-4, 6.2.2, on a block of 16 words. */
static struct state compress(struct state state, const uint32_t block[16]) {
    uint32_t w[64];
    memcpy(w, block, 16 * sizeof *w);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    struct state s = state;
    uint32_t *v = s.words;
    for (int i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                     ((e & v[5]) ^ (~e & v[6])) + constants[i] + w[i];
        uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                     ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        v[7] = v[6], v[6] = v[5], v[5] = e, v[4] = v[3] + t;
        v[3] = v[2], v[2] = v[1], v[1] = a, v[0] = t + u;
    }
    for (int i = 0; i < 8; i++) s.words[i] += state.words[i];
    return s;
}

static uint32_t load(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The state after the key, each byte of it changed by mask. */
static struct state keyed(const uint8_t key[64], uint8_t mask) {
    uint32_t block[16];
    for (int i = 0; i < 16; i++) block[i] = load(key + 4 * i) ^ mask * 0x01010101U;
    return compress(start, block);
}

static PyObject *rounds(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Py_buffer key, first;
    Py_ssize_t count = 0;
    if (!PyArg_ParseTuple(arguments, "y*y*n:rounds", &key, &first, &count)) return NULL;
    if (key.len != 64 || first.len != 32 || count < 0) {
        PyBuffer_Release(&key);
        PyBuffer_Release(&first);
        PyErr_SetString(PyExc_ValueError, "rounds takes 64 bytes, 32 bytes and a count");
        return NULL;
    }
    struct state inner = keyed(key.buf, 0x36), outer = keyed(key.buf, 0x5c);
    uint32_t block[16] = {[8] = 0x80000000, [15] = (64 + 32) * 8}, result[8];
    for (int i = 0; i < 8; i++) block[i] = result[i] = load((const uint8_t *)first.buf + 4 * i);
    PyBuffer_Release(&key);
    PyBuffer_Release(&first);
    while (count-- > 0) {
        struct state s = compress(inner, block);
        memcpy(block, s.words, sizeof s.words);
        s = compress(outer, block);
        memcpy(block, s.words, sizeof s.words);
        for (int i = 0; i < 8; i++) result[i] ^= s.words[i];
    }
    uint8_t bytes[32];
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)(result[i / 4] >> (24 - 8 * (i % 4)));
    return PyBytes_FromStringAndSize((const char *)bytes, sizeof bytes);
}

static PyMethodDef methods[] = {
    {"rounds", rounds, METH_VARARGS,
     "rounds(key, first, count): the rest of a block of PBKDF2"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_pbkdf2",
    .m_doc = "The loop of PBKDF2-HMAC-SHA256.",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__pbkdf2(void) { return PyModuleDef_Init(&module); }
