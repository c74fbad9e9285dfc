// What is added to the counts of places whose windows lie partly outside of the image.
#include <vector>

#include "gemm/conv.h"

namespace gluon_bnn {
namespace {

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

}  // namespace gluon_bnn
