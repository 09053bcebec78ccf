/*
 * Text to values by their type, and back. Integers may be written signed or unsigned, decimal
 * or with 0x; a v128 is one number of 128 bits; of references only null can be written down.
 */
#include "tools/invoke.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

__extension__ typedef unsigned __int128 uint128;

/* Digits of any size up to 128 bits; a sign before them. */
static bool parse_integer(const char *text, unsigned bits, uint128 *ret) {
    bool negative = *text == '-';
    if (*text == '-' || *text == '+') text++;
    unsigned base = 10;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    }
    uint128 limit = bits == 128 ? ~(uint128)0 : (((uint128)1 << bits) - 1), n = 0;
    if (!*text) return false;
    for (; *text; text++) {
        unsigned digit;
        if (*text >= '0' && *text <= '9')
            digit = (unsigned)(*text - '0');
        else if (base == 16 && isxdigit((unsigned char)*text))
            digit = (unsigned)(tolower((unsigned char)*text) - 'a') + 10;
        else
            return false;
        if (n > (limit - digit) / base) return false;
        n = n * base + digit;
    }
    if (negative) {
        if (n > (limit >> 1) + 1) return false;
        n = ~n + 1;
    }
    *ret = n;
    return true;
}

enum status value_parse(const char *text, struct valtype type, union abi_value *ret_value,
                        struct error *err) {
    union abi_value value = {0};
    uint128 n = 0;
    char *end = NULL;
    bool good = false;
    switch (type.code) {
    case ABI_I32:
        good = parse_integer(text, 32, &n);
        value.u32 = (uint32_t)n;
        break;
    case ABI_I64:
        good = parse_integer(text, 64, &n);
        value.u64 = (uint64_t)n;
        break;
    case ABI_V128:
        good = parse_integer(text, 128, &n);
        memcpy(value.v128, &n, sizeof n); /* little-endian, as a v128 is */
        break;
    case ABI_F32:
        value.f32 = strtof(text, &end);
        good = *text && !isspace((unsigned char)*text) && !*end;
        break;
    case ABI_F64:
        value.f64 = strtod(text, &end);
        good = *text && !isspace((unsigned char)*text) && !*end;
        break;
    default: good = valtype_is_ref(type) && strcmp(text, "null") == 0; break;
    }
    if (!good)
        return error_set(err, ST_USAGE, "'%s' is no %s%s", text, valtype_name(type),
                         valtype_is_ref(type) ? " that can be written here: only null is" : "");
    *ret_value = value;
    return ST_OK;
}

/* digits * 10^exponent (digits: d.ddd as "dddd", the point after the first) in full. */
static void print_positional(const char *digits, int exponent, struct buffer *b) {
    int count = (int)strlen(digits);
    if (exponent < 0) {
        buffer_printf(b, "0.");
        for (int i = -1; i > exponent; i--) buffer_put_u8(b, '0');
        buffer_printf(b, "%s", digits);
        return;
    }
    for (int i = 0; i < count || i <= exponent; i++) {
        if (i == exponent + 1) buffer_put_u8(b, '.');
        buffer_put_u8(b, (uint8_t)(i < count ? digits[i] : '0'));
    }
}

static void print_float(double value, bool single, struct buffer *b) {
    if (isnan(value) || isinf(value) || value == 0.0) {
        const char *word = isnan(value) ? "NaN" : isinf(value) ? "inf" : "0";
        buffer_printf(b, "%s%s", signbit(value) && !isnan(value) ? "-" : "", word);
        return;
    }
    char text[40];
    for (int precision = 0; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value) break;
    }
    char *e = strchr(text, 'e'), digits[40];
    int exponent = atoi(e + 1);
    size_t count = 0;
    for (char *at = text; at < e; at++)
        if (isdigit((unsigned char)*at)) digits[count++] = *at;
    digits[count] = '\0';
    if (text[0] == '-') buffer_put_u8(b, '-');
    print_positional(digits, exponent, b);
}

static void print_uint128(const uint8_t bytes[16], struct buffer *b) {
    uint128 n;
    memcpy(&n, bytes, sizeof n);
    char digits[40];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + (int)(n % 10));
        n /= 10;
    } while (n);
    buffer_printf(b, "%s", digits + at);
}

void value_print(const union abi_value *value, struct valtype type, struct buffer *b) {
    switch (type.code) {
    case ABI_I32: buffer_printf(b, "%d", value->i32); return;
    case ABI_I64: buffer_printf(b, "%lld", (long long)value->i64); return;
    case ABI_F32: print_float((double)value->f32, true, b); return;
    case ABI_F64: print_float(value->f64, false, b); return;
    case ABI_V128: print_uint128(value->v128, b); return;
    default: break;
    }
    buffer_printf(b, value->ref ? "<%s>" : "<null %s>", valtype_name(type));
}
