// An image as one row of features, in the order in which it lies in memory.
#include <cstring>

#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Flatten final : public Node {
 public:
  explicit Flatten(Parts& parts) {
    value = parts.source();
    if (value.form != Form::kFloat && value.channels() % kWord != 0 && value.places() != 1) {
      parts.refuse("flatten takes bits where channels are a multiple of %lld, got %lld", static_cast<long long>(kWord),
                   static_cast<long long>(value.channels()));
    }
    value.shape = {value.size()};
  }

  bool is_view() const override { return true; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    std::memcpy(y, xs[0], rows * (pixels ? value.size() : 4 * value.words()));
  }
};

}  // namespace

std::unique_ptr<Node> kinds::flatten(Parts& parts) { return std::make_unique<Flatten>(parts); }

}  // namespace gluon_bnn
