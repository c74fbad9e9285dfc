// A row of features in the order channels, height, width as an image with the channels innermost.
#include "gemm/image.h"

#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

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
    const int64_t channels = value.channels(), places = value.places();
    if (pixels) {
      channels_last(static_cast<const uint8_t*>(xs[0]), rows, channels, places, static_cast<uint8_t*>(y));
    } else {
      channels_last(static_cast<const float*>(xs[0]), rows, channels, places, static_cast<float*>(y));
    }
  }
};

}  // namespace

std::unique_ptr<Node> kinds::image(Parts& parts) { return std::make_unique<Image>(parts); }

}  // namespace gluon_bnn
