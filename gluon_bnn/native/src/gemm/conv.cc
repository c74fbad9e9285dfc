#include "gemm/conv.h"

#include <cstring>

#include "gemm/lines.h"
#include "gemm/tiles.h"
#include "gemm/windows.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kWindowWords = 16 * 1024;  // of a buffer of windows: 64 KB, which an L2 cache holds

Windows<uint32_t> windows_of_bits(const ConvSizes& sizes, Pad pad, const uint32_t* x) {
  const uint32_t all = pad == Pad::kMinus ? ~0u : 0u;
  const int64_t tail = sizes.channels % kWord;
  return {sizes, x, sizes.pixel_words(), {all, tail == 0 ? all : all & ((1u << tail) - 1)}};
}

// A part of the result that one thread computes: places [begin, end), counted over all rows, and units.
struct Share {
  int64_t begin, end, unit, end_unit;
};

// Threads share the places in whole strips of `rows`; where there are too few for equal shares, the units in tiles.
Share share_of(int64_t places, int64_t rows, int64_t units, int64_t tile, int threads, int64_t part) {
  const int64_t strips = ceil_div(places, rows), tiles = ceil_div(units, tile);
  if (strips < 16 * threads && tiles >= threads) {
    return {0, places, tiles * part / threads * tile, smaller(units, tiles * (part + 1) / threads * tile)};
  }
  return {strips * part / threads * rows, smaller(places, strips * (part + 1) / threads * rows), 0, units};
}

// Places of a chunk that go through a micro-kernel together.
struct Strip {
  int64_t row, rows;
  int64_t odd;        // of all of them
  bool is_at_border;  // some windows lie partly outside
};

// Cuts `rows` places into strips of at most `most`; returns their number. `at` is null where there is no border.
int64_t cut(int64_t rows, int64_t most, const Border::Place* at, Strip* strips) {
  int64_t count = 0;
  for (int64_t row = 0, end; row < rows; row = end) {
    end = at == nullptr ? rows : row + 1;
    while (end < rows && at[end].odd == at[row].odd) ++end;
    for_each_strip(Tile{row, end - row, 0, 0}, most, [&](const Tile& part) {
      Strip& strip = strips[count++] = {part.row, part.rows, at == nullptr ? 0 : at[row].odd, false};
      for (int64_t r = part.row; at != nullptr && r < part.row + part.rows; ++r) strip.is_at_border |= !at[r].is_inside;
    });
  }
  return count;
}

// What the counts of a strip begin at, from a unit on.
inline void begin_counts(const Strip& strip, const Border::Place* at, int64_t unit, int64_t blocks, int32_t* counts) {
  for (int64_t r = 0; r < strip.rows; ++r) {
    const int32_t* begin = at[strip.row + r].begin + unit;
    for (int64_t b = 0; b < blocks; ++b) {
      std::memcpy(counts + r * kTileUnits + b * kBlock, begin + b * kBlock, kBlock * sizeof(int32_t));
    }
  }
}

// A few places whose windows are in the cache, cut into strips.
struct Chunk {
  int64_t place;
  const uint32_t* windows;
  const Border::Place* at;  // null where there is no border
  const Strip* strips;
  int64_t strip_count;
  int32_t* counts;  // kTileUnits for each place
};

// Counts for `units` units from `unit` on, at most a tile, and calls epilogue(place, rows, unit, units, inputs, counts)
// for each strip.
template <typename RunEpilogue>
void xnor_chunk(const Kernels& k, const Chunk& chunk, const PackedWeights& weights, int64_t inputs, int64_t unit,
                int64_t units, const RunEpilogue& epilogue) {
  const int64_t words = weights.words, blocks = ceil_div(units, kBlock);
  for (int64_t word = 0; word < words; word += kWordsBlock) {
    const int64_t count = smaller(kWordsBlock, words - word);
    for (const Strip* strip = chunk.strips; strip < chunk.strips + chunk.strip_count; ++strip) {
      int32_t* counts = chunk.counts + strip->row * kTileUnits;
      if (word == 0 && strip->is_at_border) begin_counts(*strip, chunk.at, unit, blocks, counts);
      k.xnor_gemm(chunk.windows + strip->row * words + word, words, strip->rows, weights.at(unit, word),
                  weights.block_stride(), blocks, count, word == 0 && !strip->is_at_border, counts);
      if (word + count < words) continue;
      epilogue(chunk.place + strip->row, strip->rows, unit, units, inputs + strip->odd, counts);
    }
  }
}

// Calls the epilogue for all strips of all places, and all units of each.
template <typename RunEpilogue>
void xnor_windows(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                  const RunEpilogue& epilogue) {
  const Kernels& k = kernels();
  if (bits_in_lines(sizes)) return bits_by_lines(sizes, border, x, w, epilogue);
  const Windows<uint32_t> windows = windows_of_bits(sizes, border.pad(), x);
  const PackedWeights weights(w, windows.size() * kWord);
  const int64_t words = weights.words, places = sizes.rows * sizes.places();
  const int64_t most = k.xnor_rows * std::max<int64_t>(1, smaller(kChunkRows, kWindowWords / words) / k.xnor_rows);
  const int64_t tile_units = k.xnor_blocks * kBlock;
  const int threads = threads_for(kXnorProduct * places * sizes.units * words);
  const uint32_t* const in_place = windows.without_copy();
  const Scratch<uint32_t> buffers(threads, in_place == nullptr ? most * words : 0);
  const Scratch<int32_t> counts(threads, most * kTileUnits);
  const Scratch<Border::Place> borders(threads, border.is_empty() ? 0 : most);
  const Scratch<Strip> strips(threads, most);
  parallel_for<Schedule::kStatic>(threads, threads, [&](int64_t part, int thread) {
    const Share share = share_of(places, k.xnor_rows, sizes.units, tile_units, threads, part);
    for (int64_t place = share.begin; place < share.end; place += most) {
      const int64_t rows = smaller(most, share.end - place);
      if (in_place == nullptr) windows.copy(place, rows, buffers[thread], words);
      if (!border.is_empty()) border.find(place, rows, borders[thread]);
      const Border::Place* at = border.is_empty() ? nullptr : borders[thread];
      const int64_t strip_count = cut(rows, k.xnor_rows, at, strips[thread]);
      const uint32_t* from = in_place == nullptr ? buffers[thread] : in_place + place * words;
      const Chunk chunk = {place, from, at, strips[thread], strip_count, counts[thread]};
      for (int64_t unit = share.unit; unit < share.end_unit; unit += tile_units) {
        xnor_chunk(k, chunk, weights, sizes.inputs(), unit, smaller(tile_units, share.end_unit - unit), epilogue);
      }
    }
  });
}

}  // namespace

void xnor_conv(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
               const Epilogue& epilogue, float* y) {
  const Kernels& k = kernels();
  xnor_windows(sizes, border, x, w,
               [&](int64_t place, int64_t rows, int64_t unit, int64_t units, int64_t inputs, const int32_t* counts) {
                 k.epilogue_xnor(counts, rows, units, inputs, epilogue_at(epilogue, unit),
                                 y + place * sizes.units + unit, sizes.units);
               });
}

void xnor_conv_bits(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                    const int32_t* threshold, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(sizes.units, kWord);
  xnor_windows(sizes, border, x, w,
               [&](int64_t place, int64_t rows, int64_t unit, int64_t units, int64_t inputs, const int32_t* counts) {
                 k.epilogue_xnor_bits(counts, rows, units, inputs, threshold + unit,
                                      bits + place * words + unit / kWord, words);
               });
}

namespace {

DenseSizes product_of(const ConvSizes& sizes) { return {sizes.rows * sizes.places(), sizes.units, sizes.inputs()}; }

// The windows of a convolution as the rows of a product, `stride` elements apart. What lies between them is 0.
template <typename T>
class WindowRows {
 public:
  WindowRows(int threads, const ConvSizes& sizes, const T* x, T outside, int64_t stride)
      : windows_(sizes, x, sizes.channels, {outside, outside}), stride_(stride), buffers_(threads, kTileRows * stride) {
    for (int thread = 0; thread < threads && stride > windows_.size(); ++thread) {
      std::fill_n(buffers_[thread], kTileRows * stride, T(0));
    }
  }

  RowsOf<T> rows_of() const {
    return [this](int64_t row, int64_t count, int thread) {
      windows_.copy(row, count, buffers_[thread], stride_);
      return buffers_[thread];
    };
  }

 private:
  Windows<T> windows_;
  int64_t stride_;
  Scratch<T> buffers_;
};

// One float weight per channel and tap: the channels lie together, in x and in w. The sums are those of dense_f32.
void depthwise(int64_t taps, int64_t channels, const float* x, const float* w, float* part, float* sums) {
  std::fill(sums, sums + channels, 0.0f);
  for (int64_t begin = 0; begin < taps; begin += kSumWords * kWord) {
    std::fill(part, part + channels, 0.0f);
    for (int64_t tap = begin; tap < smaller(taps, begin + kSumWords * kWord); ++tap) {
      for (int64_t c = 0; c < channels; ++c) part[c] += x[tap * channels + c] * w[tap * channels + c];
    }
    for (int64_t c = 0; c < channels; ++c) sums[c] += part[c];
  }
}

}  // namespace

void lut_conv(const ConvSizes& sizes, Pad pad, const float* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result) {
  const float outside = pad == Pad::kZero ? 0.0f : (pad == Pad::kPlus ? 1.0f : -1.0f);
  const DenseSizes product = product_of(sizes);
  const WindowRows<float> rows(lut_threads(product), sizes, x, outside, product.inputs);
  lut_product(product, rows.rows_of(), w, epilogue, result);
}

void u8_conv(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue, float* y) {
  if (pixels_in_lines(sizes)) return u8_lines(sizes, x, w, epilogue, {y, nullptr});
  const DenseSizes product = product_of(sizes);
  const int64_t stride = ceil_div(product.inputs, kWord) * kWord;
  const WindowRows<uint8_t> rows(u8_threads(product), sizes, x, 0, stride);
  u8_product(product, rows.rows_of(), stride, w, epilogue, {y, nullptr});
}

void u8_conv_bits(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const int32_t* threshold,
                  uint32_t* bits) {
  if (pixels_in_lines(sizes)) return u8_lines_bits(sizes, x, w, threshold, bits);
  const DenseSizes product = product_of(sizes);
  const int64_t stride = ceil_div(product.inputs, kWord) * kWord;
  const WindowRows<uint8_t> rows(u8_threads(product), sizes, x, 0, stride);
  u8_product_bits(product, rows.rows_of(), stride, w, threshold, bits);
}

void conv(const ConvSizes& sizes, int64_t groups, const float* x, const float* w, const float* bias, float* y) {
  const Kernels& k = kernels();
  const Windows<float> windows(sizes, x, sizes.channels, {0.0f, 0.0f});
  const int64_t places = sizes.rows * sizes.places(), taps = sizes.taps();
  const int64_t channels = sizes.channels / groups, units = sizes.units / groups;  // of a group
  const int threads = threads_for(kFloatProduct * places * sizes.units * taps * channels);
  const Scratch<float> buffers(threads, 2 * windows.size());
  parallel_for<Schedule::kStatic>(threads, places, [&](int64_t place, int thread) {
    float *const window = buffers[thread], *const of_group = window + windows.size();
    float* const to = y + place * sizes.units;
    windows.copy(place, 1, window, 0);
    if (groups > 1 && channels == 1 && units == 1) {
      depthwise(taps, sizes.channels, window, w, of_group, to);
      for (int64_t c = 0; bias != nullptr && c < groups; ++c) to[c] += bias[c];
      return;
    }
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t tap = 0; groups > 1 && tap < taps; ++tap) {
        copy_run(window + tap * sizes.channels + g * channels, of_group + tap * channels, channels);
      }
      k.dense_f32(groups > 1 ? of_group : window, taps * channels, w + g * units, sizes.units,
                  bias == nullptr ? nullptr : bias + g * units, units, to + g * units);
    }
  });
}

}  // namespace gluon_bnn
