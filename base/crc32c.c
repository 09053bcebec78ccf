/* CRC-32C (RFC 3720, appendix B.4), bit by bit: for what has no libcrypto and little to check.
 */
#include "base/base.h"

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    while (size--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return crc;
}
