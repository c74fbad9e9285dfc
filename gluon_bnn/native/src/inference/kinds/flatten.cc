// An image as one row of features, in the order in which it lies in memory.
#include <cstring>

#include "gemm/image.h"
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Flatten final : public Node {
 public:
  explicit Flatten(Parts& parts) {
    value = parts.source();
    places_ = value.places();
    channels_ = value.channels();
    value.shape = {value.size()};
  }

  // Otherwise a word of the row may hold bits of several pixels.
  bool is_view() const override { return value.form == Form::kFloat || places_ == 1 || channels_ % kWord == 0; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    if (!is_view()) {
      flatten_bits(static_cast<const uint32_t*>(xs[0]), rows, places_, channels_, static_cast<uint32_t*>(y));
    } else {
      std::memcpy(y, xs[0], rows * (pixels ? value.size() : 4 * value.words()));
    }
  }

 private:
  int64_t places_, channels_;
};

}  // namespace

std::unique_ptr<Node> kinds::flatten(Parts& parts) { return std::make_unique<Flatten>(parts); }

}  // namespace gluon_bnn
