#include "training/conv_bits.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "training/images.h"

namespace gluon_bnn {
namespace {

// Numbers the classes of all outputs along an axis, by the taps that lie inside; `found` gets the taps of each.
std::vector<int64_t> classes_along(const WindowAxis& axis, std::vector<Range>* found) {
  std::vector<int64_t> classes(axis.outputs());
  *found = {{0, axis.kernel}};
  for (int64_t i = 0; i < axis.outputs(); ++i) {
    const Range taps = axis.taps(i);
    const auto same = std::find_if(found->begin(), found->end(), [=](const Range& other) {
      return taps.begin == other.begin && taps.end == other.end;
    });
    classes[i] = same - found->begin();
    if (same == found->end()) found->push_back(taps);
  }
  return classes;
}

}  // namespace

void pack_planes(const float* x, int64_t rows, int64_t channels, int64_t places, uint32_t* bits) {
  constexpr int64_t kPart = 1024;
  const int64_t words = ceil_div(channels, kWord), parts = ceil_div(places, kPart);
  const int threads = threads_for(0.1 * rows * channels * places);
  parallel_for<Schedule::kStatic>(threads, rows * words * parts, [=](int64_t i, int) {
    const int64_t part = i % parts, word = i / parts % words, row = i / parts / words;
    const int64_t begin = part * kPart, size = smaller(kPart, places - begin);
    uint32_t* __restrict to = bits + (row * words + word) * places + begin;
    std::fill_n(to, size, 0u);
    for (int64_t t = 0; t < smaller(kWord, channels - word * kWord); ++t) {
      const float* from = x + (row * channels + word * kWord + t) * places + begin;
      const uint32_t bit = uint32_t{1} << t;
      for (int64_t p = 0; p < size; ++p) to[p] |= from[p] < 0 ? bit : 0;
    }
  });
}

void pack_kernel_rows(const ConvSizes& sizes, const float* w, uint32_t* bits) {
  const int64_t pixel = sizes.pixel_words() * kWord, size = sizes.taps() * pixel;
  const int threads = threads_for(kTouch * sizes.units * size);
  const Scratch<float> scratch(threads, size);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int thread) {
    float* row = scratch[thread];
    std::fill_n(row, size, 0.0f);
    transpose(w + unit * sizes.inputs(), sizes.taps(), sizes.channels, sizes.taps(), row, pixel);
    kernels().pack(row, size, bits + unit * sizes.words());
  });
}

void load_windows(const ConvSizes& sizes, Pad pad, const uint32_t* x, int64_t begin, int64_t count, uint32_t* to) {
  const WindowAxis horizontal = sizes.horizontal();
  const int64_t pixel = sizes.pixel_words(), plane = sizes.height * sizes.width, stride = sizes.stride_w;
  const int64_t block_size = sizes.words() * kBlock, tail = sizes.channels % kWord;
  const uint32_t outside = pad == Pad::kMinus ? ~0u : 0u, last = tail == 0 ? ~0u : (1u << tail) - 1;
  for_each_run(sizes, begin, count, kBlock, [&](const Run& run) {
    uint32_t* at = to + run.first / kBlock * block_size + run.first % kBlock;
    for (int64_t h = 0; h < sizes.kernel_h; ++h) {
      const int64_t y = sizes.vertical().start(run.y) + h * sizes.dilation_h;
      const bool inside = y >= 0 && y < sizes.height;
      for (int64_t v = 0; v < sizes.kernel_w; ++v) {
        const int64_t left = horizontal.start(run.x) + v * sizes.dilation_w;  // of the first place; may lie outside
        const int64_t end = inside ? std::clamp<int64_t>(ceil_div(sizes.width - left, stride), 0, run.size) : 0;
        const int64_t first = std::clamp<int64_t>(ceil_div(-left, stride), 0, end);
        const uint32_t* from = x + (run.image * pixel * sizes.height + y) * sizes.width + left;
        for (int64_t word = 0; word < pixel; ++word, from += plane, at += kBlock) {
          if (first > 0 || end < run.size) std::fill_n(at, run.size, word + 1 < pixel ? outside : outside & last);
          if (stride == 1) {
            std::memcpy(at + first, from + first, (end - first) * sizeof(uint32_t));
          } else {
            for (int64_t i = first; i < end; ++i) at[i] = from[i * stride];
          }
        }
      }
    }
  });
}

OutsideSums::OutsideSums(const ConvSizes& sizes, Pad pad, const uint32_t* bits)
    : empty_(pad != Pad::kZero || (sizes.pad_h == 0 && sizes.pad_w == 0)) {
  if (empty_) return;
  std::vector<Range> down, across;
  rows_ = classes_along(sizes.vertical(), &down);
  columns_ = classes_along(sizes.horizontal(), &across);
  column_classes_ = static_cast<int64_t>(across.size());
  sums_.resize(down.size() * across.size() * sizes.units);
  std::vector<int32_t> taps(sizes.taps());
  for (int64_t unit = 0; unit < sizes.units; ++unit) {
    for (int32_t& tap : taps) {
      tap = static_cast<int32_t>(sizes.channels);
      for (int64_t word = 0; word < sizes.pixel_words(); ++word) tap -= 2 * __builtin_popcount(*bits++);
    }
    int32_t* to = &sums_[unit];
    for (const Range& rows : down) {
      for (const Range& columns : across) {
        for (int64_t tap = 0; tap < sizes.taps(); ++tap) {
          const int64_t h = tap / sizes.kernel_w, v = tap % sizes.kernel_w;
          if (h < rows.begin || h >= rows.end || v < columns.begin || v >= columns.end) *to += taps[tap];
        }
        to += sizes.units;
      }
    }
  }
}

int64_t OutsideSums::find(const ConvSizes& sizes, int64_t begin, int64_t count, Place* found) const {
  if (empty_) return 0;
  int64_t size = 0;
  for_each_run(sizes, begin, count, count, [&](const Run& run) {
    for (int64_t i = 0; i < run.size; ++i) {
      const int64_t row = rows_[run.y], column = columns_[run.x + i];
      if (row == 0 && column == 0) continue;
      found[size++] = {run.first + i, &sums_[(row * column_classes_ + column) * sizes.units]};
    }
  });
  return size;
}

}  // namespace gluon_bnn
