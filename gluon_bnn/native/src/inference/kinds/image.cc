// A row of features in the order channels, height, width as an image with the channels innermost.
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

// (rows, channels, places) to (rows, places, channels).
template <typename T>
void transpose(const T* x, int64_t rows, int64_t channels, int64_t places, T* y) {
  for (int64_t r = 0; r < rows; ++r, x += channels * places, y += channels * places) {
    for (int64_t place = 0; place < places; ++place) {
      for (int64_t c = 0; c < channels; ++c) y[place * channels + c] = x[c * places + place];
    }
  }
}

class Image final : public Node {
 public:
  explicit Image(Parts& parts) {
    const Value x = parts.float_source();
    value = {Form::kFloat, parts.sizes("shape"), x.pixels};
    if (value.shape.size() != 3 || x.shape.size() != 1 || value.size() != x.size()) {
      parts.refuse("image takes a row of features and gives a height, width and channels of as many elements");
    }
  }

  bool is_view() const override { return value.channels() == 1 || value.places() == 1; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    if (pixels) {
      transpose(static_cast<const uint8_t*>(xs[0]), rows, value.channels(), value.places(), static_cast<uint8_t*>(y));
    } else {
      transpose(static_cast<const float*>(xs[0]), rows, value.channels(), value.places(), static_cast<float*>(y));
    }
  }
};

}  // namespace

std::unique_ptr<Node> kinds::image(Parts& parts) { return std::make_unique<Image>(parts); }

}  // namespace gluon_bnn
