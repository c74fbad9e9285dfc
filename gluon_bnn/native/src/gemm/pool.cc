#include "gemm/pool.h"

#include <cfloat>

#include "parallel.h"

namespace gluon_bnn {
namespace {

// Calls body(y, vertical taps, horizontal taps, the first tap's index in x) for each place of the result.
template <typename Body>
void for_each_window(const PoolSizes& s, const Body& body) {
  const double work = 2 * kTouch * s.rows * s.out_height * s.out_width * s.channels * s.kernel_h * s.kernel_w;
  const WindowAxis vertical = s.vertical(), horizontal = s.horizontal();
  parallel_for<Schedule::kStatic>(threads_for(work), s.rows * s.out_height, [&](int64_t i, int) {
    const int64_t row = i / s.out_height, out_y = i % s.out_height;
    const Range down = vertical.taps(out_y);
    const int64_t line = row * s.height + vertical.start(out_y) + down.begin;
    for (int64_t out_x = 0; out_x < s.out_width; ++out_x) {
      const Range across = horizontal.taps(out_x);
      body(i * s.out_width + out_x, down, across, line * s.width + horizontal.start(out_x) + across.begin);
    }
  });
}

// How many places of a window lie in the padded image.
int64_t padded_taps(const WindowAxis& axis, int64_t output) {
  return smaller(axis.kernel, axis.size + axis.pad - axis.start(output));
}

}  // namespace

void max_pool(const PoolSizes& s, const float* x, float* y) {
  const int64_t channels = s.channels;
  for_each_window(s, [=](int64_t place, Range down, Range across, int64_t first) {
    float* to = y + place * channels;
    std::fill(to, to + channels, -FLT_MAX);
    for (int64_t i = 0; i < down.size(); ++i) {
      for (int64_t j = 0; j < across.size(); ++j) {
        const float* from = x + (first + i * s.width + j) * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] = from[c] > to[c] ? from[c] : to[c];
      }
    }
  });
}

// A maximum is the AND of the bits, and so is a minimum, of the bits turned over. First the lines of the windows are
// put together, in a loop over whole lines, then the columns.
void max_pool_bits(const PoolSizes& s, const uint32_t* x, const uint32_t* falls, uint32_t* y) {
  const int64_t words = ceil_div(s.channels, kWord), line = s.width * words;
  const WindowAxis vertical = s.vertical(), horizontal = s.horizontal();
  const int threads = threads_for(2 * kTouch * s.rows * s.out_height * words * (s.kernel_h * s.width + s.out_width));
  const Scratch<uint32_t> turned(1, line), together(threads, line);
  for (int64_t i = 0; i < line; ++i) turned[0][i] = falls == nullptr ? 0 : falls[i % words];
  parallel_for<Schedule::kStatic>(threads, s.rows * s.out_height, [&](int64_t i, int thread) {
    const Range down = vertical.taps(i % s.out_height);
    const uint32_t* from = x + (i / s.out_height * s.height + vertical.start(i % s.out_height) + down.begin) * line;
    const uint32_t* const turn = turned[0];
    uint32_t* const bits = together[thread];
    std::fill(bits, bits + line, ~0u);
    for (int64_t tap = 0; tap < down.size(); ++tap, from += line) {
      for (int64_t j = 0; j < line; ++j) bits[j] &= from[j] ^ turn[j];
    }
    uint32_t* to = y + i * s.out_width * words;
    for (int64_t out_x = 0; out_x < s.out_width; ++out_x) {
      const Range across = horizontal.taps(out_x);
      const uint32_t* first = bits + (horizontal.start(out_x) + across.begin) * words;
      for (int64_t word = 0; word < words; ++word, ++first) {
        uint32_t all = ~0u;
        for (int64_t tap = 0; tap < across.size(); ++tap) all &= first[tap * words];
        *to++ = all ^ turn[word];
      }
    }
  });
}

void average_pool(const PoolSizes& s, bool count_padding, const float* x, float* y) {
  const int64_t channels = s.channels;
  const bool divides_first = s.reaches_beyond_padding();
  for_each_window(s, [=](int64_t place, Range down, Range across, int64_t first) {
    float* to = y + place * channels;
    int64_t count = down.size() * across.size();
    if (count_padding) {
      const int64_t out_x = place % s.out_width, out_y = place / s.out_width % s.out_height;
      count = padded_taps(s.vertical(), out_y) * padded_taps(s.horizontal(), out_x);
    }
    const float size = static_cast<float>(count);
    std::fill(to, to + channels, 0.0f);
    for (int64_t i = 0; i < down.size(); ++i) {
      for (int64_t j = 0; j < across.size(); ++j) {
        const float* from = x + (first + i * s.width + j) * channels;
        if (divides_first) {
          for (int64_t c = 0; c < channels; ++c) to[c] += from[c] / size;
        } else {
          for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
        }
      }
    }
    for (int64_t c = 0; !divides_first && c < channels; ++c) to[c] /= size;
  });
}

}  // namespace gluon_bnn
