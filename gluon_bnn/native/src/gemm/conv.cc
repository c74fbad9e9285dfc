#include "gemm/conv.h"

#include <cstring>

#include "gemm/tiles.h"

namespace gluon_bnn {
namespace {

// What a window has outside of the image: `fill` in all elements of a pixel but the last, which has `last`.
template <typename T>
struct Outside {
  T fill, last;
};

// Reads windows of an image (rows, height, width, pixel).
template <typename T>
class Windows {
 public:
  Windows(const ConvSizes& sizes, const T* x, int64_t pixel, const Outside<T>& outside)
      : sizes_(sizes),
        vertical_(sizes.vertical()),
        horizontal_(sizes.horizontal()),
        x_(x),
        pixel_(pixel),
        outside_(outside),
        out_height_(sizes.out_height()),
        out_width_(sizes.out_width()) {}

  int64_t size() const { return sizes_.taps() * pixel_; }

  // The window of a place of the result, counted over all rows: size() elements.
  void copy(int64_t place, T* to) const {
    const int64_t out_x = place % out_width_, line = place / out_width_;
    const int64_t out_y = line % out_height_, row = line / out_height_;
    const Taps down = vertical_.taps(out_y), across = horizontal_.taps(out_x);
    const int64_t begin = sizes_.kernel_w * pixel_;
    for (int64_t i = 0; i < sizes_.kernel_h; ++i, to += begin) {
      if (i < down.begin || i >= down.end) {
        fill(sizes_.kernel_w, to);
        continue;
      }
      const int64_t y = vertical_.start(out_y) + i * sizes_.dilation_h;
      fill(across.begin, to);
      for (int64_t j = across.begin; j < across.end; ++j) {
        const int64_t x = horizontal_.start(out_x) + j * sizes_.dilation_w;
        const T* from = x_ + ((row * sizes_.height + y) * sizes_.width + x) * pixel_;
        std::memcpy(to + j * pixel_, from, pixel_ * sizeof(T));
      }
      fill(sizes_.kernel_w - across.end, to + across.end * pixel_);
    }
  }

 private:
  void fill(int64_t taps, T* to) const {
    std::fill(to, to + taps * pixel_, outside_.fill);
    for (int64_t tap = 0; tap < taps; ++tap) to[(tap + 1) * pixel_ - 1] = outside_.last;
  }

  ConvSizes sizes_;
  WindowAxis vertical_, horizontal_;
  const T* x_;
  int64_t pixel_;
  Outside<T> outside_;
  int64_t out_height_, out_width_;
};

Windows<uint32_t> windows_of_bits(const ConvSizes& sizes, Pad pad, const uint32_t* x) {
  const uint32_t all = pad == Pad::kMinus ? ~0u : 0u;
  const int64_t tail = sizes.channels % kWord;
  return {sizes, x, sizes.pixel_words(), {all, tail == 0 ? all : all & ((1u << tail) - 1)}};
}

// Tells the classes of places along an axis apart: from one output to the next neither end of the taps inside moves up.
int64_t class_of(const Taps& taps) { return taps.begin + taps.end; }

// The classes along an axis, and for each value of class_of its index among them.
struct Classes {
  std::vector<Taps> taps;
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

Border::Border(const ConvSizes& sizes, Pad pad, const uint32_t* w) : pad_(pad) {
  if (pad != Pad::kZero || (sizes.pad_h == 0 && sizes.pad_w == 0)) return;
  const Classes rows(sizes.vertical()), columns(sizes.horizontal());
  units_ = ceil_div(sizes.units, kBlock) * kBlock;
  rows_ = rows.index;
  columns_ = columns.index;
  column_classes_ = static_cast<int64_t>(columns.taps.size());
  corrections_.resize(rows.taps.size() * columns.taps.size() * units_);
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
    int32_t* to = corrections_.data() + unit;
    for (const Taps& down : rows.taps) {
      const int32_t *above = &sums[down.begin * width], *below = &sums[down.end * width];
      for (const Taps& across : columns.taps) {
        const int32_t inside = below[across.end] - below[across.begin] - above[across.end] + above[across.begin];
        const int32_t outside = sums.back() - inside;
        *to = (outside + (outside & 1)) / 2;
        to += units_;
      }
    }
  }
}

Border::Place Border::at(const ConvSizes& sizes, int64_t y, int64_t x) const {
  const Taps down = sizes.vertical().taps(y), across = sizes.horizontal().taps(x);
  const int64_t outside = sizes.taps() - down.size() * across.size();
  if (outside == 0) return {nullptr, 0};
  const int64_t index = rows_[class_of(down)] * column_classes_ + columns_[class_of(across)];
  return {corrections_.data() + index * units_, outside & sizes.channels & 1};
}

namespace {

constexpr int64_t kConvWords = 128;          // words of a tile's weights at a time, as in xnor.cc
constexpr int64_t kWindowWords = 16 * 1024;  // of a buffer of windows: 64 KB, which an L2 cache holds

// Calls epilogue(place, rows, unit, units, inputs, counts) for all strips of `rows` places and `units` units.
template <typename RunEpilogue>
void xnor_windows(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                  const RunEpilogue& epilogue) {
  const Kernels& k = kernels();
  const Windows<uint32_t> windows = windows_of_bits(sizes, border.pad(), x);
  const int64_t words = windows.size(), places = sizes.rows * sizes.places(), block_stride = words * kBlock;
  const int64_t tile = k.xnor_blocks * kBlock, tiles = ceil_div(sizes.units, tile);
  const int64_t strips = ceil_div(places, k.xnor_rows);
  const int64_t most = k.xnor_rows * std::max<int64_t>(1, smaller(kChunkRows, kWindowWords / words) / k.xnor_rows);
  const int threads = threads_for(0.03 * places * sizes.units * words);
  // Threads share the places; where these are too few for equal shares, the units.
  const bool by_units = strips < 16 * threads && tiles >= threads;
  const Scratch<uint32_t> buffers(threads, most * words);
  const Scratch<int32_t> scratch(threads, most * kTileUnits);
  const Scratch<Border::Place> at_border(threads, most);
  parallel_for<Schedule::kStatic>(threads, threads, [&](int64_t part, int thread) {
    const auto share = [=](int64_t all, bool is_shared, int64_t i) {
      return is_shared ? all * i / threads : all * (i - part);
    };
    const int64_t begin = smaller(places, k.xnor_rows * share(strips, !by_units, part));
    const int64_t end = smaller(places, k.xnor_rows * share(strips, !by_units, part + 1));
    const int64_t first_tile = share(tiles, by_units, part), last_tile = share(tiles, by_units, part + 1);
    uint32_t* buffer = buffers[thread];
    Border::Place* border_at = at_border[thread];
    for (int64_t place = begin; place < end; place += most) {
      const int64_t rows = smaller(most, end - place);
      for (int64_t r = 0; r < rows; ++r) {
        windows.copy(place + r, buffer + r * words);
        const int64_t in_row = (place + r) % sizes.places();
        border_at[r] = border.is_empty() ? Border::Place{nullptr, 0}
                                         : border.at(sizes, in_row / sizes.out_width(), in_row % sizes.out_width());
      }
      for (int64_t unit = first_tile * tile; unit < smaller(sizes.units, last_tile * tile); unit += tile) {
        const int64_t units = smaller(tile, sizes.units - unit), blocks = ceil_div(units, kBlock);
        for (int64_t r = 0, count; r < rows; r += count) {
          count = 1;
          while (r + count < rows && count < k.xnor_rows && border_at[r + count].odd == border_at[r].odd) ++count;
          int32_t* counts = scratch[thread];
          std::memset(counts, 0, count * kTileUnits * sizeof(int32_t));
          for (int64_t i = 0; i < count; ++i) {
            if (border_at[r + i].begin == nullptr) continue;
            std::memcpy(counts + i * kTileUnits, border_at[r + i].begin + unit, blocks * kBlock * sizeof(int32_t));
          }
          k.xnor_gemm(buffer + r * words, words, count, w + unit / kBlock * block_stride, block_stride, blocks, words,
                      false, counts);
          epilogue(place + r, count, unit, units, sizes.inputs() + border_at[r].odd, counts);
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

// Calls body(first place, windows, thread) for strips of at most `most` places, whose windows lie one after the other.
template <typename T, typename Body>
void for_each_window_strip(const Windows<T>& windows, int64_t places, int64_t most, double work, const Body& body) {
  const int threads = threads_for(work);
  const Scratch<T> buffers(threads, most * windows.size());
  parallel_for<Schedule::kStatic>(threads, ceil_div(places, most), [&](int64_t i, int thread) {
    const int64_t place = i * most, rows = smaller(most, places - place);
    for (int64_t r = 0; r < rows; ++r) windows.copy(place + r, buffers[thread] + r * windows.size());
    body(place, rows, buffers[thread]);
  });
}

}  // namespace

void lut_conv(const ConvSizes& sizes, Pad pad, const float* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result) {
  const float outside = pad == Pad::kZero ? 0.0f : (pad == Pad::kPlus ? 1.0f : -1.0f);
  const Windows<float> windows(sizes, x, sizes.channels, {outside, outside});
  const int64_t places = sizes.rows * sizes.places(), words = ceil_div(sizes.units, kWord);
  const double work = 0.4 * places * sizes.units * ceil_div(sizes.inputs(), kWord);
  for_each_window_strip(windows, places, 48, work, [&](int64_t place, int64_t rows, const float* strip) {
    lut_dense({rows, sizes.units, sizes.inputs()}, strip, w, epilogue,
              {result.y == nullptr ? nullptr : result.y + place * sizes.units,
               result.bits == nullptr ? nullptr : result.bits + place * words});
  });
}

void u8_conv(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue, float* y) {
  const Windows<uint8_t> windows(sizes, x, sizes.channels, {0, 0});
  const int64_t places = sizes.rows * sizes.places();
  const double work = 0.3 * places * sizes.units * ceil_div(sizes.inputs(), kWord);
  for_each_window_strip(windows, places, 48, work, [&](int64_t place, int64_t rows, const uint8_t* strip) {
    u8_dense({rows, sizes.units, sizes.inputs()}, strip, w, epilogue, {y + place * sizes.units, nullptr});
  });
}

void u8_conv_bits(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const int32_t* threshold,
                  uint32_t* bits) {
  const Windows<uint8_t> windows(sizes, x, sizes.channels, {0, 0});
  const int64_t inputs = sizes.inputs(), input_words = ceil_div(inputs, kWord), words = ceil_div(sizes.units, kWord);
  std::vector<uint8_t> window(inputs);
  for (int64_t place = 0; place < sizes.rows * sizes.places(); ++place) {
    windows.copy(place, window.data());
    std::fill(bits + place * words, bits + (place + 1) * words, 0u);
    for (int64_t unit = 0; unit < sizes.units; ++unit) {
      int32_t dot = 0;
      for (int64_t i = 0; i < inputs; ++i) {
        const uint32_t word = w[(unit / kBlock * input_words + i / kWord) * kBlock + unit % kBlock];
        dot += word >> (i % kWord) & 1 ? -window[i] : window[i];
      }
      bits[place * words + unit / kWord] |= static_cast<uint32_t>(dot < threshold[unit]) << (unit % kWord);
    }
  }
}

void conv(const ConvSizes& sizes, int64_t groups, const float* x, const float* w, const float* bias, float* y) {
  const Kernels& k = kernels();
  const Windows<float> windows(sizes, x, sizes.channels, {0.0f, 0.0f});
  const int64_t places = sizes.rows * sizes.places(), channels = sizes.channels / groups, units = sizes.units / groups;
  const int64_t taps = sizes.taps();
  const double work = 0.05 * places * sizes.units * taps * channels;
  const int threads = threads_for(work);
  const Scratch<float> buffers(threads, 2 * windows.size());
  parallel_for<Schedule::kStatic>(threads, places, [&](int64_t place, int thread) {
    float *window = buffers[thread], *group = window + windows.size();
    windows.copy(place, window);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        std::memcpy(group + tap * channels, window + tap * sizes.channels + g * channels, channels * sizeof(float));
      }
      k.dense_f32(group, taps * channels, w + g * units, sizes.units, bias == nullptr ? nullptr : bias + g * units,
                  units, y + place * sizes.units + g * units);
    }
  });
}

}  // namespace gluon_bnn
