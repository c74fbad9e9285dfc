// Eight bytes at a time, by tables: a CRC is linear, so that of eight bytes is the xor of those of each byte alone.
#include "inference/crc32.h"

namespace gluon_bnn {
namespace {

constexpr int kBytes = 8;

struct Tables {
  uint32_t of[kBytes][256] = {};  // of[n][byte]: the byte followed by n zeros

  constexpr Tables() {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
      of[0][byte] = crc;
    }
    for (int n = 1; n < kBytes; ++n) {
      for (int byte = 0; byte < 256; ++byte) of[n][byte] = of[n - 1][byte] >> 8 ^ of[0][of[n - 1][byte] & 255];
    }
  }
};
constexpr Tables kTables;

}  // namespace

uint32_t crc32(uint32_t crc, const void* bytes, int64_t size) {
  const uint8_t* at = static_cast<const uint8_t*>(bytes);
  crc = ~crc;
  for (; size >= kBytes; size -= kBytes, at += kBytes) {
    uint32_t next = 0;
#pragma GCC unroll 8
    for (int i = 0; i < kBytes; ++i) {
      const uint32_t byte = i < 4 ? at[i] ^ (crc >> 8 * i & 255) : at[i];
      next ^= kTables.of[kBytes - 1 - i][byte];
    }
    crc = next;
  }
  for (; size > 0; --size, ++at) crc = crc >> 8 ^ kTables.of[0][(crc ^ *at) & 255];
  return ~crc;
}

}  // namespace gluon_bnn
