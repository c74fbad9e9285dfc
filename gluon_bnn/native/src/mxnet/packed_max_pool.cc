// Max pooling of images of bits, as MXNet sees it: attributes, shapes, types and errors. Inference only.
//
//   gluon_bnn_packed_max_pool(data, [falls], channels=, axes=, kernel=, strides=, padding=, dilation=, rounding=,
//                             falls=) -> bits
//
// data (rows, [height,] width, words of channels), with as many `axes` of space; dilation must be 1. Without an
// attribute `kernel` the window is the whole image. Channels whose bit is 1 in the input `falls`, (words,), take the
// minimum.
#include <optional>

#include "mxnet/window.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kWord;

class PackedMaxPool : public Inference {
 public:
  explicit PackedMaxPool(const Attributes& attributes)
      : words_(ceil_div(size_of(attributes, "channels"), kWord)),
        axes_(size_of(attributes, "axes")),
        ceil_(choice_of<bool>(attributes, "rounding", "floor", {{"floor", false}, {"ceil", true}})),
        falls_(flag_of(attributes, "falls", "False")) {
    if (attributes.get("kernel", "").empty()) return;
    window_.emplace(attributes);
    for (int64_t each : window_->dilation) {
      if (each != 1) refuse("the dilation of a pool must be 1, got ", window_->dilation);
    }
    if (axes_ != static_cast<int64_t>(window_->axes())) {
      refuse("kernel must have as many numbers as there are axes, ", axes_, ", got ", window_->kernel);
    }
  }

  int inputs() const { return 1 + falls_; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < inputs(); ++i) expect_type(kName, in, i, kInt32);
    out[0] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    Shape y = image_of(kName, (*in)[0], axes_);
    if (y.back() != kUnknown && y.back() != words_) {
      refuse(kName, " takes ", words_, " words of channels, got an array of shape ", y);
    }
    const Shape data = y;
    for (size_t axis = 0; axis + 2 < data.size(); ++axis) {
      const int64_t size = data[axis + 1];
      y[axis + 1] = window_ ? window_->outputs(axis, size, ceil_, data) : 1;
      if (!window_ || size == kUnknown) continue;
      const gluon_bnn::WindowAxis window = window_->along(axis, size);
      if (window.pad >= window.kernel || window.start(y[axis + 1] - 1) >= size) {
        refuse("every window must have places inside of the image: kernel ", window_->kernel, ", strides ",
               window_->strides, " and padding ", window_->padding, " have one without, in an array of shape ", data);
      }
    }
    if (falls_) expect_shape("falls", {words_}, &(*in)[1]);
    width_of(y, true);  // must be known to MXNet
    (*out)[0] = y;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &y = out[0];
    const int64_t channels = words_ * kWord;  // all bits of the words
    gluon_bnn::PoolSizes sizes;
    if (window_) {
      sizes = window_->pool(data, y, 1, data.shape[0], channels);
    } else {
      const int64_t rows = data.shape[0], places = data.size() / (rows * words_);
      sizes = {rows, 1, places, channels, 1, places, 1, 1, 0, 0, 1, 1};
    }
    gluon_bnn::max_pool_bits(sizes, data.data<uint32_t>(), falls_ ? in[1].data<uint32_t>() : nullptr,
                             y.data<uint32_t>());
  }

 private:
  static constexpr const char* kName = "packed_max_pool";

  int64_t words_, axes_;
  bool ceil_, falls_;
  std::optional<Window> window_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPackedMaxPool = describe<PackedMaxPool>("gluon_bnn_packed_max_pool");

}  // namespace mxnet
}  // namespace gluon_bnn
