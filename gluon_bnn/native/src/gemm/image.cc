#include "gemm/image.h"

#include "gemm/pack.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

// (rows, height, width) to (rows, width, height), in squares whose lines stay in the L1 cache.
template <typename T>
void swap_axes(const T* x, int64_t rows, int64_t height, int64_t width, T* y) {
  constexpr int64_t kSquare = 16;
  const int64_t strips = ceil_div(width, kSquare);
  parallel_for<Schedule::kStatic>(threads_for(kTouch * rows * height * width), rows * strips, [=](int64_t i, int) {
    const int64_t begin = i % strips * kSquare, end = smaller(width, begin + kSquare);
    const T* from = x + i / strips * height * width;
    T* to = y + i / strips * height * width;
    for (int64_t top = 0; top < height; top += kSquare) {
      const int64_t bottom = smaller(height, top + kSquare);
      for (int64_t column = begin; column < end; ++column) {
        for (int64_t line = top; line < bottom; ++line) to[column * height + line] = from[line * width + column];
      }
    }
  });
}

}  // namespace

void channels_last(const float* x, int64_t rows, int64_t channels, int64_t places, float* y) {
  swap_axes(x, rows, channels, places, y);
}

void channels_last(const uint8_t* x, int64_t rows, int64_t channels, int64_t places, uint8_t* y) {
  swap_axes(x, rows, channels, places, y);
}

void channels_first(const float* x, int64_t rows, int64_t channels, int64_t places, float* y) {
  swap_axes(x, rows, places, channels, y);
}

void flatten_bits(const uint32_t* x, int64_t rows, int64_t places, int64_t channels, uint32_t* bits) {
  const int64_t words = ceil_div(channels, kWord), flat = ceil_div(places * channels, kWord);
  parallel_for<Schedule::kStatic>(threads_for(kTouch * rows * places * words), rows, [=](int64_t row, int) {
    const uint32_t* from = x + row * places * words;
    uint32_t* to = bits + row * flat;
    uint64_t held = 0;  // bits that do not make a word yet
    int64_t count = 0;
    for (int64_t place = 0; place < places; ++place) {
      for (int64_t word = 0; word < words; ++word) {
        held |= static_cast<uint64_t>(*from++) << count;
        count += smaller(kWord, channels - word * kWord);
        if (count < kWord) continue;
        *to++ = static_cast<uint32_t>(held);
        held >>= kWord;
        count -= kWord;
      }
    }
    if (count > 0) *to = static_cast<uint32_t>(held);
  });
}

}  // namespace gluon_bnn
