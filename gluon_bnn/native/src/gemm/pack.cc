#include "gemm/pack.h"

#include <cstring>

namespace gluon_bnn {
namespace {

constexpr double kPackElement = 0.05;      // nanoseconds per element
constexpr double kTranspose = kTouch / 4;  // nanoseconds per bit

constexpr size_t kHalf = kBlock * sizeof(uint32_t);  // bytes of half a square

// Packed weights (inputs, units) from squares of 32 units by 32 inputs, each two half squares of 16 units above and
// below. load(unit_word, word, square) fills a square of zeros, one word per unit.
template <typename Load>
void transpose_squares(int64_t units, int64_t inputs, uint32_t* transposed, const Load& load) {
  const int64_t words = ceil_div(inputs, kWord);
  const int64_t unit_words = ceil_div(units, kWord), input_blocks = ceil_div(inputs, kBlock);
  const int threads = threads_for(kTranspose * units * inputs);
  parallel_for<Schedule::kDynamic>(threads, words, [&](int64_t word, int) {
    for (int64_t unit_word = 0; unit_word < unit_words; ++unit_word) {
      uint32_t square[2 * kBlock] = {};
      load(unit_word, word, square);
      transpose_bits(square);
      for (int64_t half = 0, block = 2 * word; half < 2 && block < input_blocks; ++half, ++block) {
        std::memcpy(transposed + (block * unit_words + unit_word) * kBlock, square + half * kBlock, kHalf);
      }
    }
  });
}

}  // namespace

// Squares off the diagonal change places, 16 x 16 first, 1 x 1 last.
void transpose_bits(uint32_t words[kWord]) {
  uint32_t mask = 0x0000ffffu;
  for (int size = 16; size != 0; size >>= 1, mask ^= mask << size) {
    for (int i = 0; i < 32; i = (i + size + 1) & ~size) {
      const uint32_t differ = ((words[i] >> size) ^ words[i + size]) & mask;
      words[i] ^= differ << size;
      words[i + size] ^= differ;
    }
  }
}

void pack_inputs(const float* x, int64_t rows, int64_t inputs, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord);
  parallel_for<Schedule::kStatic>(threads_for(kPackElement * rows * inputs), rows,
                                  [&](int64_t r, int) { k.pack(x + r * inputs, inputs, bits + r * words); });
}

void pack_inputs_u8(const uint8_t* x, const int32_t* threshold, int64_t thresholds, int64_t rows, int64_t inputs,
                    uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord);
  parallel_for<Schedule::kStatic>(threads_for(kPackElement * rows * inputs), rows, [&](int64_t r, int) {
    k.pack_u8(x + r * inputs, threshold + r % thresholds * inputs, inputs, bits + r * words);
  });
}

void pack_image(const float* x, int64_t rows, int64_t channels, int64_t places, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(channels, kWord), strips = ceil_div(places, kWord);
  parallel_for<Schedule::kStatic>(
      threads_for(kPackElement * rows * channels * places), rows * strips, [&](int64_t i, int) {
        const int64_t row = i / strips, place = i % strips * kWord, count = smaller(kWord, places - place);
        for (int64_t word = 0; word < words; ++word) {
          uint32_t square[kWord] = {};
          const int64_t first = word * kWord, size = smaller(kWord, channels - first);
          for (int64_t c = 0; c < size; ++c) {
            k.pack(x + (row * channels + first + c) * places + place, count, &square[c]);
          }
          transpose_bits(square);
          for (int64_t p = 0; p < count; ++p) bits[(row * places + place + p) * words + word] = square[p];
        }
      });
}

void transpose_weights(const uint32_t* bits, int64_t units, int64_t inputs, uint32_t* transposed) {
  const int64_t words = ceil_div(inputs, kWord), blocks = ceil_div(units, kBlock);
  transpose_squares(units, inputs, transposed, [=](int64_t unit_word, int64_t word, uint32_t* square) {
    for (int64_t half = 0, block = 2 * unit_word; half < 2 && block < blocks; ++half, ++block) {
      std::memcpy(square + half * kBlock, bits + (block * words + word) * kBlock, kHalf);
    }
  });
}

void transpose_inputs(const uint32_t* bits, int64_t rows, int64_t inputs, uint32_t* transposed) {
  const int64_t words = ceil_div(inputs, kWord);
  transpose_squares(rows, inputs, transposed, [=](int64_t row_word, int64_t word, uint32_t* square) {
    const int64_t first = row_word * kWord, count = std::min(kWord, rows - first);
    for (int64_t r = 0; r < count; ++r) square[r] = bits[(first + r) * words + word];
  });
}

}  // namespace gluon_bnn
