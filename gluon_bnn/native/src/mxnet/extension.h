// What MXNet hands to an operator of ours, and how an operator is described to MXNet.
//
// MXNet loads operators through its extension interface: plain C functions that it looks up by name. They are in
// extension.cc, written from the interface itself, so that building the library needs no MXNet.
//
// An operator is a class. Its constructor reads the attributes of one call and `refuse`s what is not allowed:
//
//   explicit Op(const Attributes& attributes);
//   int inputs() const;
//   int outputs() const;
//   void infer_type(Types in, Types out) const;                       sets what is kAnyType
//   void infer_shape(Shapes* in, Shapes* out) const;                  sets what is not known
//   void forward(const Tensors& in, const Tensors& out) const;
//   void backward(const Tensors& in, const Tensors& out) const;       may be missing
//   std::vector<int> mutated() const;                                 may be missing: inputs that forward changes
//
// The inputs of backward are the gradients of the outputs, then the inputs of forward, then its outputs; its outputs
// are the gradients of the inputs. Whatever any of these throws is an error in MXNet with the same message.
#ifndef GLUON_BNN_MXNET_EXTENSION_H_
#define GLUON_BNN_MXNET_EXTENSION_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace gluon_bnn {
namespace mxnet {

// MXNet's numbers of its types.
enum Type : int {
  kAnyType = -1,  // not known yet
  kFloat32 = 0,
  kFloat64 = 1,
  kFloat16 = 2,
  kUint8 = 3,
  kInt32 = 4,
  kInt8 = 5,
  kInt64 = 6,
};

// An array that MXNet owns.
template <typename T>
class Span {
 public:
  Span(T* first, int count) : first_(first), count_(count) {}
  int size() const { return count_; }
  T* begin() const { return first_; }
  T* end() const { return first_ + count_; }
  T& operator[](int i) const { return first_[i]; }
  T& back() const { return first_[count_ - 1]; }

 private:
  T* first_;
  int count_;
};

// A shape whose number of axes is not known is empty.
constexpr int64_t kUnknown = -1;  // a size that is not known yet
using Shape = std::vector<int64_t>;

using Types = Span<int>;
using Shapes = std::vector<Shape>;

struct Tensor {
  void* address;
  Span<const int64_t> shape;
  int type;

  template <typename T>
  T* data() const {
    return static_cast<T*>(address);
  }

  int64_t size() const {
    int64_t size = 1;
    for (int64_t axis : shape) size *= axis;
    return size;
  }
};

using Tensors = std::vector<Tensor>;

// The attributes of a call: texts by name. Each text ends where a '\0', or a ',' of a list, follows.
class Attributes {
 public:
  Attributes(const char* const* names, const char* const* texts, int count)
      : names_(names), texts_(texts), count_(count) {}

  std::string_view get(std::string_view name, std::string_view missing) const {
    for (int i = 0; i < count_; ++i) {
      if (name == names_[i]) return texts_[i];
    }
    return missing;
  }

  bool has(std::string_view name) const { return get(name, {}).data() != nullptr; }

 private:
  const char* const* names_;
  const char* const* texts_;
  int count_;
};

// As Python writes it, with a question mark for what is not known.
inline std::string text_of(const Shape& shape) {
  std::string text;
  for (int64_t size : shape) text += (text.empty() ? "" : ", ") + (size == kUnknown ? "?" : std::to_string(size));
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

// A part of a message: a text, a number or a shape.
class Part {
 public:
  Part(const char* text) : text_(text) {}
  Part(const std::string& text) : text_(text) {}
  Part(std::string_view text) : text_(text) {}
  Part(const Shape& shape) : shape_(&shape) {}
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  Part(Number number) {
    if constexpr (std::is_integral_v<Number>) {
      write(static_cast<int64_t>(number));
    } else {
      write(static_cast<double>(number));
    }
  }
  Part(const Part&) = delete;

  std::string text() const { return shape_ != nullptr ? text_of(*shape_) : std::string(text_); }

 private:
  // The digits of a number, with a decimal point whatever the host program's locale is. Not inline: messages have many
  // numbers, and each would be long to compile.
  void write(int64_t number);
  void write(double number);

  char digits_[32];
  std::string_view text_;
  const Shape* shape_ = nullptr;
};

// Ends the call with an error whose message is made of the parts.
[[noreturn]] void refuse(std::initializer_list<Part> parts);
template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  refuse({Part(parts)...});
}

// An operator as MXNet calls it.
struct Operator {
  using Compute = void (*)(const Attributes&, const Tensors& in, const Tensors& out);

  const char* name;
  void (*count)(const Attributes&, int* inputs, int* outputs);
  void (*infer_type)(const Attributes&, Types in, Types out);
  void (*infer_shape)(const Attributes&, Shapes* in, Shapes* out);
  Compute forward;
  Compute backward;                                // or null
  std::vector<int> (*mutated)(const Attributes&);  // or null
};

template <typename Op, typename = void>
struct HasBackward : std::false_type {};
template <typename Op>
struct HasBackward<Op, std::void_t<decltype(&Op::backward)>> : std::true_type {};

template <typename Op, typename = void>
struct HasMutated : std::false_type {};
template <typename Op>
struct HasMutated<Op, std::void_t<decltype(&Op::mutated)>> : std::true_type {};

template <typename Op>
constexpr Operator describe(const char* name) {
  Operator described = {
      name,
      [](const Attributes& attributes, int* inputs, int* outputs) {
        const Op op(attributes);
        *inputs = op.inputs();
        *outputs = op.outputs();
      },
      [](const Attributes& attributes, Types in, Types out) { Op(attributes).infer_type(in, out); },
      [](const Attributes& attributes, Shapes* in, Shapes* out) { Op(attributes).infer_shape(in, out); },
      [](const Attributes& attributes, const Tensors& in, const Tensors& out) { Op(attributes).forward(in, out); },
      nullptr,
      nullptr};
  if constexpr (HasBackward<Op>::value) {
    described.backward = [](const Attributes& attributes, const Tensors& in, const Tensors& out) {
      Op(attributes).backward(in, out);
    };
  }
  if constexpr (HasMutated<Op>::value) {
    described.mutated = [](const Attributes& attributes) { return Op(attributes).mutated(); };
  }
  return described;
}

// All operators, each from the file of its name; kDataGradient belongs to kBinaryDense, kConvDataGradient to
// kBinaryConv, kPackedFlatten to kPackImage.
extern const Operator kSignScale, kScaleBias, kSign, kBinaryDense, kDataGradient, kBinaryConv, kConvDataGradient,
    kMaxPool, kBatchNorm, kSquaredHinge, kAdam, kPack, kPackedDense, kPackImage, kPackedConv, kPackedMaxPool,
    kPackedFlatten;

}  // namespace mxnet
}  // namespace gluon_bnn

#endif  // GLUON_BNN_MXNET_EXTENSION_H_
