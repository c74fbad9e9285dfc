// The CRC-32 of zlib, gzip and PNG.
#ifndef GLUON_BNN_INFERENCE_CRC32_H_
#define GLUON_BNN_INFERENCE_CRC32_H_

#include <cstdint>

namespace gluon_bnn {

// The CRC-32 of a text whose CRC-32 is `crc` (0 for an empty one) followed by these bytes.
uint32_t crc32(uint32_t crc, const void* bytes, int64_t size);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_CRC32_H_
