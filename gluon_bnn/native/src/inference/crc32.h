// The CRC-32 of zlib, gzip and PNG.
#ifndef GLUON_BNN_INFERENCE_CRC32_H_
#define GLUON_BNN_INFERENCE_CRC32_H_

#include <cstdint>

namespace gluon_bnn {

// That of what had `crc` so far, at first 0, and these bytes after it.
uint32_t crc32(uint32_t crc, const void* bytes, int64_t size);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_CRC32_H_
