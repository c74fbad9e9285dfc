// What the operators share: parsers of attributes, checks of types and shapes.
#ifndef GLUON_BNN_MXNET_OPERATOR_H_
#define GLUON_BNN_MXNET_OPERATOR_H_

#include <locale.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "gluon_bnn.h"
#include "mxnet/extension.h"
#include "parallel.h"
#include "training/sign_scale.h"

namespace gluon_bnn {
namespace mxnet {

// ---- Attributes. `missing` stands for an attribute that is not given; one that must be given is "nothing". ----

// strtod obeys the host program's decimal comma; this one does not.
inline double to_double(const char* text, char** end) {
  static const locale_t c_locale = [] {
    const locale_t made = newlocale(LC_ALL_MASK, "C", static_cast<locale_t>(nullptr));
    if (made == static_cast<locale_t>(nullptr)) throw std::bad_alloc();
    return made;
  }();
  return strtod_l(text, end, c_locale);
}

// NaN for a text that is not a number.
inline double number_in(std::string_view text) {
  char* end = nullptr;
  const double number = to_double(text.data(), &end);
  return !text.empty() && end == text.data() + text.size() ? number : std::numeric_limits<double>::quiet_NaN();
}

template <typename T>
T number_of(const char* name, std::string_view text) {
  const T number = static_cast<T>(number_in(text));
  if (!std::isfinite(number)) refuse(name, " must be a finite number, got ", text);
  return number;
}

template <typename T>
T number_of(const Attributes& attributes, const char* name) {
  return number_of<T>(name, attributes.get(name, "nothing"));
}

// A bound: a number above 0, or None or infinity, which is no bound. It is judged before it is rounded to T: one that
// is smaller than every float becomes the bound 0, which only zeros keep to.
template <typename T>
T clip_of(const char* name, std::string_view text) {
  const double clip = text == "None" ? std::numeric_limits<double>::infinity() : number_in(text);
  if (!(clip > 0)) refuse(name, " must be a number above 0 or None, got ", text);
  return static_cast<T>(clip);
}

template <typename T>
T clip_of(const Attributes& attributes, const char* name) {
  return clip_of<T>(name, attributes.get(name, "None"));
}

inline int64_t size_of(const Attributes& attributes, const char* name, std::string_view missing = "nothing") {
  const std::string_view text = attributes.get(name, missing);
  int64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || end != text.data() + text.size() || size < 1 || size > GLUON_BNN_MOST_INPUTS) {
    refuse(name, " must be a whole number from 1 to ", GLUON_BNN_MOST_INPUTS, ", got ", text);
  }
  return size;
}

// Numbers from `least` on, one for each axis, as Python writes a tuple: (3, 3) or (3,).
inline Shape tuple_of(const Attributes& attributes, const char* name, int64_t least) {
  const std::string_view text = attributes.get(name, "nothing");
  Shape sizes;
  const char *at = text.data(), *end = at + text.size();
  const auto skip = [&](char c) { return at != end && *at == c && ++at; };
  bool valid = skip('(');
  while (valid && !skip(')')) {
    int64_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    valid = error == std::errc() && size >= least && size <= GLUON_BNN_MOST_INPUTS;
    sizes.push_back(size);
    at = next;
    if (!skip(',')) valid = valid && at != end && *at == ')';
    skip(' ');
  }
  if (!valid || at != end || sizes.empty()) {
    refuse(name, " must be a tuple of whole numbers from ", least, " to ", GLUON_BNN_MOST_INPUTS, ", got ", text);
  }
  return sizes;
}

// A value of an enumeration, or a bool, and the text that names it.
struct Choice {
  const char* name;
  int value;

  template <typename T>
  Choice(const char* name, T value) : name(name), value(static_cast<int>(value)) {}
};
using Choices = std::vector<Choice>;

inline std::string names_of(const Choices& choices) {
  std::string names;
  for (const Choice& each : choices) {
    names += names.empty() ? "" : &each == &choices.back() ? " or " : ", ";
    names += each.name;
  }
  return names;
}

inline int choice_of(const char* name, std::string_view text, const Choices& choices) {
  for (const Choice& each : choices) {
    if (text == each.name) return each.value;
  }
  refuse(name, " must be ", names_of(choices), ", got ", text);
}

// The value that the text names.
template <typename T>
T choice_of(const Attributes& attributes, const char* name, std::string_view missing, const Choices& choices) {
  return static_cast<T>(choice_of(name, attributes.get(name, missing), choices));
}

inline bool flag_of(const char* name, std::string_view text) {
  if (text != "True" && text != "False") refuse(name, " must be True or False, got ", text);
  return text == "True";
}

inline bool flag_of(const Attributes& attributes, const char* name, std::string_view missing) {
  return flag_of(name, attributes.get(name, missing));
}

// The gradient rules by name, all of them or those that go with every scale.
inline Choices gradients(bool for_every_scale) {
  Choices choices;
  for_each_rule([&](auto rule, Gradient gradient) {
    if (!for_every_scale || !rule.kUsesAlpha) choices.emplace_back(rule.kName, gradient);
  });
  return choices;
}

// The scale and the gradient rule of a binary layer. Where alpha is 1 or depends on a curvature, rules that use alpha
// have no meaning.
struct ScaleAndRule {
  Scale scale;
  Gradient gradient;

  explicit ScaleAndRule(const Attributes& attributes)
      : scale(choice_of<Scale>(
            attributes, "scale", "layer",
            {{"layer", Scale::kLayer}, {"channel", Scale::kChannel}, {"loss", Scale::kLoss}, {"None", Scale::kNone}})),
        gradient(choice_of<Gradient>(attributes, "gradient", "xnor", gradients(false))) {
    const bool any_rule = scale == Scale::kLayer || scale == Scale::kChannel;
    with_rule(gradient, [&](auto rule) {
      if (any_rule || !rule.kUsesAlpha) return;
      refuse("scale=", attributes.get("scale", ""), " allows gradient=", names_of(gradients(true)), " only, got ",
             rule.kName);
    });
  }

  bool has_curvature() const { return scale == Scale::kLoss; }
};

// ---- Types ----

constexpr int kBool = 7, kBfloat16 = 12;  // types of MXNet that its extension interface does not name

inline const char* name_of(int type) {
  switch (type) {
    case kAnyType:
      return "an unknown type";
    case kFloat32:
      return "float32";
    case kFloat64:
      return "float64";
    case kFloat16:
      return "float16";
    case kUint8:
      return "uint8";
    case kInt32:
      return "int32";
    case kInt8:
      return "int8";
    case kInt64:
      return "int64";
    case kBool:
      return "bool";
    case kBfloat16:
      return "bfloat16";
    default:
      return "a type that it does not know";
  }
}

inline int64_t bytes_of(int type) {
  switch (type) {
    case kFloat64:
    case kInt64:
      return 8;
    case kFloat32:
    case kInt32:
      return 4;
    case kFloat16:
    case kBfloat16:
      return 2;
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    default:
      refuse("the library cannot use an array of ", name_of(type));
  }
}

// Input i must have the type `wanted`. No advice where it is int32: bits that were cast to another type are lost.
inline void expect_type(const char* op, Types in, int i, Type wanted) {
  if (in[i] == kAnyType) in[i] = wanted;
  if (in[i] == wanted) return;
  refuse(op, " takes ", name_of(wanted), " as its input ", i, ", got ", name_of(in[i]),
         wanted == kFloat32 ? ": use .astype(\"float32\")" : "");
}

// These inputs must have one type, float32 or float64. It is returned, or kAnyType where none of them has one yet.
inline int one_float_type(const char* op, Types in) {
  int type = kAnyType;
  for (int i = 0; i < in.size(); ++i) {
    if (in[i] == kAnyType) continue;
    if (in[i] != kFloat32 && in[i] != kFloat64) {
      refuse(op, " takes float32 or float64, got ", name_of(in[i]), " as its input ", i, ": use .astype(\"float32\")");
    }
    if (type == kAnyType) type = in[i];
    if (in[i] != type) {
      refuse("the inputs of ", op, " must have one type, float32 or float64, got ", name_of(type), " and ",
             name_of(in[i]), ": use .astype(\"float32\")");
    }
  }
  for (int& each : in) each = type;
  return type;
}

// Runs float or double code on tensors of that type; other types were refused when types were inferred.
template <typename Run>
void by_type(const Tensor& tensor, const Run& run) {
  if (tensor.type == kFloat32) {
    run(0.0f);
  } else if (tensor.type == kFloat64) {
    run(0.0);
  } else {
    refuse("the binary operators take float32 or float64, got ", name_of(tensor.type));
  }
}

// For the gradient of an input that has none.
inline void set_to_zero(const Tensor& tensor) {
  char* bytes = static_cast<char*>(tensor.address);
  for_each_part<Schedule::kStatic>(1, tensor.size() * bytes_of(tensor.type), [=](int64_t, int64_t begin, int64_t end) {
    std::fill(bytes + begin, bytes + end, '\0');
  });
}

// ---- Shapes ----

// `what` must have the shape `wanted`: what is not known of it is set.
inline void expect_shape(const char* what, const Shape& wanted, Shape* shape) {
  if (shape->empty()) *shape = wanted;
  bool equal = shape->size() == wanted.size();
  for (size_t axis = 0; equal && axis < wanted.size(); ++axis) {
    int64_t& size = (*shape)[axis];
    if (size == kUnknown) size = wanted[axis];
    equal = wanted[axis] == kUnknown || size == wanted[axis];
  }
  if (!equal) refuse(what, " must have the shape ", wanted, ", got ", *shape);
}

// `what` must hold `size` numbers, along its only axis or as one row.
inline void expect_numbers(const char* what, int64_t size, Shape* shape) {
  expect_shape(what, shape->size() == 2 ? Shape{1, size} : Shape{size}, shape);
}

// Refuses an empty array: there is no result that a net could go on with.
inline void expect_some(const char* op, const Shape& data) {
  for (int64_t size : data) {  // an unknown size is kUnknown, with MXNet's NumPy shapes and without
    if (size == 0) refuse(op, " takes at least one number, got an array of shape ", data);
  }
}

// A batch axis and at least one more.
inline void expect_rows(const char* op, const Shape& data) {
  if (data.size() < 2) refuse(op, " takes a batch axis and at least one more, got an array of shape ", data);
  expect_some(op, data);
}

constexpr int64_t kMostNumbers = std::numeric_limits<int32_t>::max();  // in an array of MXNet

// How many numbers a row of all axes but the first has: kUnknown where a size is not known, and kMostNumbers + 1 where
// they are more than kMostNumbers.
inline int64_t row_size(const Shape& data) {
  int64_t size = 1;
  for (size_t axis = 1; axis < data.size(); ++axis) {
    if (data[axis] == kUnknown) return kUnknown;
    size = std::min(size * std::min(data[axis], kMostNumbers + 1), kMostNumbers + 1);
  }
  return size;
}

// The size of the axes that make a row, kUnknown where one of them is not known.
inline int64_t width_of(const Shape& data, bool flatten) {
  if (!flatten) return data.back();
  const int64_t width = row_size(data);
  if (width > kMostNumbers) refuse("a row must have at most ", kMostNumbers, " numbers, got an array of shape ", data);
  return width;
}

inline Shape with_width(const Shape& data, bool flatten, int64_t width) {
  Shape shape = flatten ? Shape{data[0], 0} : data;
  shape.back() = width;
  return shape;
}

// The number of rows of `width` numbers.
inline int64_t rows_of(const Tensor& data, int64_t width) { return data.size() / width; }

// The base of operators of frozen nets. MXNet hybridizes only operators that have a backward, so they have one that
// explains why there is no gradient.
class Inference {
 public:
  int outputs() const { return 1; }
  void backward(const Tensors&, const Tensors&) const {
    refuse("a frozen net is for inference and has no gradient: train the net that it was made from");
  }
};

}  // namespace mxnet
}  // namespace gluon_bnn

#endif  // GLUON_BNN_MXNET_OPERATOR_H_
