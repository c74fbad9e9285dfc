#include "gemm/conv.h"

#include <cstring>
#include <type_traits>

#include "gemm/tiles.h"

namespace gluon_bnn {
namespace {

// What a window has outside of the image: `fill` in all elements of a pixel but the last, which has `last`.
template <typename T>
struct Outside {
  T fill, last;
};

// A copy of `size` elements for runs of a few dozen bytes, where a call of memcpy takes longer than the copy. The last
// of the pieces that it is made in may overlap the one before.
template <typename T>
inline void copy_run(const T* from, T* to, int64_t size) {
  const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
  const char* const source = reinterpret_cast<const char*>(from);
  char* const target = reinterpret_cast<char*>(to);
  const auto piece = [=](int64_t at, auto width) { std::memcpy(target + at, source + at, width); };
  constexpr std::integral_constant<int64_t, 16> k16;
  constexpr std::integral_constant<int64_t, 8> k8;
  constexpr std::integral_constant<int64_t, 4> k4;
  if (bytes > 256) {
    std::memcpy(target, source, bytes);
  } else if (bytes >= 16) {
    for (int64_t at = 0; at < bytes - 16; at += 16) piece(at, k16);
    piece(bytes - 16, k16);
  } else if (bytes >= 8) {
    piece(0, k8);
    piece(bytes - 8, k8);
  } else if (bytes >= 4) {
    piece(0, k4);
    piece(bytes - 4, k4);
  } else {
    for (int64_t at = 0; at < bytes; ++at) target[at] = source[at];
  }
}

// Copies windows of an image (rows, height, width, pixel).
template <typename T>
class Windows {
 public:
  Windows(const ConvSizes& sizes, const T* x, int64_t pixel, const Outside<T>& outside)
      : sizes_(sizes),
        vertical_(sizes.vertical()),
        horizontal_(sizes.horizontal()),
        x_(x),
        pixel_(pixel),
        kernel_row_(sizes.kernel_w * pixel),
        outside_(outside),
        out_height_(sizes.out_height()),
        out_width_(sizes.out_width()),
        whole_(sizes.dilation_w == 1 ? horizontal_.whole() : Range{0, 0}) {}

  // The elements of a window.
  int64_t size() const { return sizes_.kernel_h * kernel_row_; }

  // The windows are what lies in `x`, pixel by pixel.
  const T* without_copy() const {
    const bool same = sizes_.taps() == 1 && sizes_.stride_h == 1 && sizes_.stride_w == 1;
    return same && sizes_.pad_h == 0 && sizes_.pad_w == 0 ? x_ : nullptr;
  }

  // The windows of `count` places of the result from `place` on, counted over all rows, `to_stride` elements apart.
  void copy(int64_t place, int64_t count, T* to, int64_t to_stride) const {
    int64_t out_x = place % out_width_, line = place / out_width_;
    for (; count > 0; ++line, out_x = 0) {
      const int64_t end = smaller(out_width_, out_x + count);
      copy_line(line / out_height_, line % out_height_, out_x, end, to, to_stride);
      to += (end - out_x) * to_stride;
      count -= end - out_x;
    }
  }

 private:
  // Those of places [begin, end) of line out_y of the result.
  void copy_line(int64_t row, int64_t out_y, int64_t begin, int64_t end, T* to, int64_t to_stride) const {
    const Range down = vertical_.taps(out_y);
    const int64_t kernel_row = kernel_row_, stride = sizes_.stride_w * pixel_;
    const int64_t step = sizes_.dilation_h * sizes_.width * pixel_;  // from a kernel row to the next
    // Where the first tap inside of the line with out_x = 0 would lie; only what lies inside of the image is read.
    const int64_t line = row * sizes_.height + vertical_.start(out_y) + down.begin * sizes_.dilation_h;
    int64_t from = (line * sizes_.width + horizontal_.start(begin)) * pixel_;
    for (int64_t out_x = begin; out_x < end; ++out_x, to += to_stride, from += stride) {
      if (down.begin > 0) fill(0, down.begin * sizes_.kernel_w, to);
      const T* x = x_ + from;
      T* next = to + down.begin * kernel_row;
      if (out_x >= whole_.begin && out_x < whole_.end) {
        for (int64_t i = down.begin; i < down.end; ++i, x += step, next += kernel_row) copy_run(x, next, kernel_row);
      } else {
        const Range across = horizontal_.taps(out_x);
        for (int64_t i = down.begin; i < down.end; ++i, x += step, next += kernel_row) copy_taps(x, across, next);
      }
      if (down.end < sizes_.kernel_h) fill(down.end * sizes_.kernel_w, sizes_.taps(), to);
    }
  }

  void copy_taps(const T* from, const Range& across, T* to) const {
    fill(0, across.begin, to);
    for (int64_t j = across.begin; j < across.end; ++j) {
      copy_run(from + j * sizes_.dilation_w * pixel_, to + j * pixel_, pixel_);
    }
    fill(across.end, sizes_.kernel_w, to);
  }

  // Pixels [begin, end) get what is outside.
  void fill(int64_t begin, int64_t end, T* to) const {
    std::fill(to + begin * pixel_, to + end * pixel_, outside_.fill);
    if (outside_.last == outside_.fill) return;
    for (int64_t pixel = begin + 1; pixel <= end; ++pixel) to[pixel * pixel_ - 1] = outside_.last;
  }

  ConvSizes sizes_;
  WindowAxis vertical_, horizontal_;
  const T* x_;
  int64_t pixel_, kernel_row_;
  Outside<T> outside_;
  int64_t out_height_, out_width_;
  Range whole_;  // the places of a line whose kernel rows are copied in one piece
};

Windows<uint32_t> windows_of_bits(const ConvSizes& sizes, Pad pad, const uint32_t* x) {
  const uint32_t all = pad == Pad::kMinus ? ~0u : 0u;
  const int64_t tail = sizes.channels % kWord;
  return {sizes, x, sizes.pixel_words(), {all, tail == 0 ? all : all & ((1u << tail) - 1)}};
}

// Tells the classes of places along an axis apart: from one output to the next neither end of the taps inside moves up.
int64_t class_of(const Range& taps) { return taps.begin + taps.end; }

// The classes along an axis, and for each value of class_of its index among them.
struct Classes {
  std::vector<Range> taps;
  std::vector<int32_t> index;

  explicit Classes(const WindowAxis& axis) : index(2 * axis.kernel + 1, -1) {
    add(axis, 0);
    for (int64_t k = 0; k <= axis.kernel; ++k) {  // where an end of the taps comes down to k
      add(axis, ceil_div(axis.pad - k * axis.dilation, axis.stride));
      add(axis, ceil_div(axis.size + axis.pad - k * axis.dilation, axis.stride));
    }
  }

 private:
  void add(const WindowAxis& axis, int64_t output) {
    if (output < 0 || output >= axis.outputs()) return;
    int32_t& found = index[class_of(axis.taps(output))];
    if (found >= 0) return;
    found = static_cast<int32_t>(taps.size());
    taps.push_back(axis.taps(output));
  }
};

int64_t ones(const uint32_t* words, int64_t count, int64_t stride) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += __builtin_popcount(words[i * stride]);
  return sum;
}

}  // namespace

Border::Border(const ConvSizes& sizes, Pad pad, const uint32_t* w)
    : pad_(pad), vertical_(sizes.vertical()), horizontal_(sizes.horizontal()), channels_(sizes.channels) {
  if (pad != Pad::kZero || (sizes.pad_h == 0 && sizes.pad_w == 0)) return;
  const Classes rows(sizes.vertical()), columns(sizes.horizontal());
  units_ = ceil_div(sizes.units, kBlock) * kBlock;
  rows_ = rows.index;
  columns_ = columns.index;
  column_classes_ = static_cast<int64_t>(columns.taps.size());
  corrections_.resize((1 + rows.taps.size() * columns.taps.size()) * units_);
  // sums[i][j] is the sum of a unit's signs in the first i rows and j columns of its kernel.
  const int64_t width = sizes.kernel_w + 1, pixel = sizes.pixel_words();
  std::vector<int32_t> sums((sizes.kernel_h + 1) * width);
  for (int64_t unit = 0; unit < sizes.units; ++unit) {
    const uint32_t* words = w + unit / kBlock * sizes.words() * kBlock + unit % kBlock;
    for (int64_t i = 0; i < sizes.kernel_h; ++i) {
      int32_t* above = &sums[i * width];
      for (int64_t j = 0; j < sizes.kernel_w; ++j, words += pixel * kBlock) {
        const int64_t sum = sizes.channels - 2 * ones(words, pixel, kBlock);
        above[width + j + 1] = static_cast<int32_t>(above[width + j] + above[j + 1] - above[j] + sum);
      }
    }
    int32_t* to = corrections_.data() + units_ + unit;
    for (const Range& down : rows.taps) {
      const int32_t *above = &sums[down.begin * width], *below = &sums[down.end * width];
      for (const Range& across : columns.taps) {
        const int32_t inside = below[across.end] - below[across.begin] - above[across.end] + above[across.begin];
        const int32_t outside = sums.back() - inside;
        *to = (outside + (outside & 1)) / 2;
        to += units_;
      }
    }
  }
}

void Border::find(int64_t place, int64_t count, Place* to) const {
  const int64_t width = horizontal_.outputs(), height = vertical_.outputs();
  const Range whole = horizontal_.whole();
  int64_t x = place % width, y = place / width % height;
  while (count > 0) {
    const Range down = vertical_.taps(y);
    for (; x < width && count > 0; ++x, --count) {
      const bool inside = down.size() == vertical_.kernel && x >= whole.begin && x < whole.end;
      *to++ = inside ? Place{corrections_.data(), 0, true} : at(down, horizontal_.taps(x));
    }
    x = 0;
    y = y + 1 == height ? 0 : y + 1;
  }
}

Border::Place Border::at(const Range& down, const Range& across) const {
  const int64_t outside = vertical_.kernel * horizontal_.kernel - down.size() * across.size();
  const int64_t index = 1 + rows_[class_of(down)] * column_classes_ + columns_[class_of(across)];
  return {corrections_.data() + index * units_, outside & channels_ & 1, false};
}

namespace {

constexpr int64_t kConvWords = 128;          // words of a tile's weights at a time, as in xnor.cc
constexpr int64_t kWindowWords = 16 * 1024;  // of a buffer of windows: 64 KB, which an L2 cache holds

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

// Calls epilogue(place, rows, unit, units, inputs, counts) for all strips of `rows` places and `units` units.
template <typename RunEpilogue>
void xnor_windows(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                  const RunEpilogue& epilogue) {
  const Kernels& k = kernels();
  const Windows<uint32_t> windows = windows_of_bits(sizes, border.pad(), x);
  const PackedWeights weights(w, windows.size() * kWord);
  const int64_t words = weights.words, places = sizes.rows * sizes.places();
  const int64_t most = k.xnor_rows * std::max<int64_t>(1, smaller(kChunkRows, kWindowWords / words) / k.xnor_rows);
  const int64_t tile_units = k.xnor_blocks * kBlock;
  const int threads = threads_for(0.03 * places * sizes.units * words);
  const bool is_copied = windows.without_copy() == nullptr;
  const Scratch<uint32_t> buffers(threads, is_copied ? most * words : 0);
  const Scratch<int32_t> scratch(threads, most * kTileUnits);
  const Scratch<Border::Place> borders(threads, border.is_empty() ? 0 : most);
  const Scratch<Strip> chunk_strips(threads, most);
  parallel_for<Schedule::kStatic>(threads, threads, [&](int64_t part, int thread) {
    const Share share = share_of(places, k.xnor_rows, sizes.units, tile_units, threads, part);
    for (int64_t place = share.begin; place < share.end; place += most) {
      const int64_t rows = smaller(most, share.end - place);
      const uint32_t* chunk = is_copied ? buffers[thread] : windows.without_copy() + place * words;
      if (is_copied) windows.copy(place, rows, buffers[thread], words);
      const Border::Place* at = border.is_empty() ? nullptr : borders[thread];
      if (at != nullptr) border.find(place, rows, borders[thread]);
      Strip* const strips = chunk_strips[thread];
      const int64_t strip_count = cut(rows, k.xnor_rows, at, strips);
      for (int64_t unit = share.unit; unit < share.end_unit; unit += tile_units) {
        const int64_t units = smaller(tile_units, share.end_unit - unit), blocks = ceil_div(units, kBlock);
        for (int64_t word = 0; word < words; word += kConvWords) {
          const int64_t count = smaller(kConvWords, words - word);
          for (const Strip* strip = strips; strip < strips + strip_count; ++strip) {
            int32_t* counts = scratch[thread] + strip->row * kTileUnits;
            if (word == 0 && strip->is_at_border) begin_counts(*strip, at, unit, blocks, counts);
            k.xnor_gemm(chunk + strip->row * words + word, words, strip->rows, weights.at(unit, word),
                        weights.block_stride(), blocks, count, word == 0 && !strip->is_at_border, counts);
            if (word + count < words) continue;
            epilogue(place + strip->row, strip->rows, unit, units, sizes.inputs() + strip->odd, counts);
          }
        }
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
  const DenseSizes product = product_of(sizes);
  const int64_t stride = ceil_div(product.inputs, kWord) * kWord;
  const WindowRows<uint8_t> rows(u8_threads(product), sizes, x, 0, stride);
  u8_product(product, rows.rows_of(), stride, w, epilogue, {y, nullptr});
}

void u8_conv_bits(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const int32_t* threshold,
                  uint32_t* bits) {
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
  const int threads = threads_for(0.05 * places * sizes.units * taps * channels);
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
