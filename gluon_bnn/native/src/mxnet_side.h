// What the files that register operators with MXNet share.
#ifndef GLUON_BNN_MXNET_SIDE_H_
#define GLUON_BNN_MXNET_SIDE_H_

#include <cmath>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "mxnet/lib_api.h"
#include "training.h"

namespace gluon_bnn {
namespace mxnet_side {

using mxnet::ext::MX_FAIL;
using mxnet::ext::MX_SUCCESS;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;
using Attributes = std::unordered_map<std::string, std::string>;
using Shape = std::vector<unsigned int>;

// How MXNet shows a dimension that is not known yet.
constexpr unsigned int kUnknown = std::numeric_limits<unsigned int>::max();

inline std::string get(const Attributes& attributes, const char* key, const char* missing) {
  const auto found = attributes.find(key);
  return found == attributes.end() ? missing : found->second;
}

// MXNet prints every message that was ever added, so there is one, which is written anew.
inline std::mutex& message_mutex() {
  static std::mutex mutex;
  return mutex;
}

inline std::stringstream& only_message() {
  static std::stringstream& message = MX_ERROR_MSG;
  return message;
}

template <typename... Parts>
MXReturnValue fail(const Parts&... parts) {
  const std::lock_guard<std::mutex> lock(message_mutex());
  only_message().str("");
  (only_message() << ... << parts);
  return MX_FAIL;
}

inline MXReturnValue flag_of(const char* key, const std::string& text, bool* flag) {
  *flag = text == "True";
  return *flag || text == "False" ? MX_SUCCESS : fail(key, " must be True or False, got ", text);
}

inline MXReturnValue parse_flag(const Attributes& attributes, const char* key, const char* missing, bool* flag) {
  return flag_of(key, get(attributes, key, missing), flag);
}

// A number; where None is allowed it is +infinity, which clips nothing.
template <typename T>
MXReturnValue number_of(const char* key, const std::string& text, bool or_none, T* number) {
  *number = std::numeric_limits<T>::infinity();
  if (or_none && text == "None") return MX_SUCCESS;
  char* end = nullptr;
  *number = static_cast<T>(std::strtod(text.c_str(), &end));
  if (text.empty() || *end != '\0' || !std::isfinite(*number) || (or_none && !(*number > 0))) {
    return fail(key, " must be a finite number", or_none ? " above 0 or None" : "", ", got ", text);
  }
  return MX_SUCCESS;
}

template <typename T>
MXReturnValue parse_number(const Attributes& attributes, const char* key, bool or_none, T* number) {
  return number_of(key, get(attributes, key, or_none ? "None" : "nothing"), or_none, number);
}

inline MXReturnValue parse_scale(const std::string& text, Scale* scale) {
  if (text == "layer") {
    *scale = Scale::kLayer;
  } else if (text == "channel") {
    *scale = Scale::kChannel;
  } else if (text == "loss") {
    *scale = Scale::kLoss;
  } else if (text == "None") {
    *scale = Scale::kNone;
  } else {
    return fail("scale must be layer, channel, loss or None, got ", text);
  }
  return MX_SUCCESS;
}

inline MXReturnValue parse_gradient(const std::string& text, Gradient* gradient) {
  if (text == "ste") {
    *gradient = Gradient::kSte;
  } else if (text == "xnor") {
    *gradient = Gradient::kXnor;
  } else if (text == "exact") {
    *gradient = Gradient::kExact;
  } else if (text == "notebook") {
    *gradient = Gradient::kNotebook;
  } else {
    return fail("gradient must be ste, xnor, exact or notebook, got ", text);
  }
  return MX_SUCCESS;
}

// The size of the axes that make a row, kUnknown where one of them is not known.
inline unsigned int width_of(const Shape& data, bool flatten) {
  if (!flatten) return data.back();
  uint64_t width = 1;
  for (size_t axis = 1; axis < data.size(); ++axis) {
    if (data[axis] == kUnknown) return kUnknown;
    width *= data[axis];
  }
  return static_cast<unsigned int>(width);
}

// A batch without rows has no result that a net could go on with.
inline MXReturnValue check_not_empty(const MXTensor& data) {
  return data.size() > 0 ? MX_SUCCESS : fail("a binary layer takes at least one row, got an empty batch");
}

inline Shape with_width(const Shape& data, bool flatten, int64_t width) {
  Shape shape = flatten ? Shape{data[0], 0} : data;
  shape.back() = static_cast<unsigned int>(width);
  return shape;
}

// The shape of an array with a number for each of `units` units, as which it may come: (units,) or (1, units).
inline Shape one_a_unit(const Shape& given, unsigned int units) {
  return given.size() == 2 ? Shape{1, units} : Shape{units};
}

inline bool is_float(int dtype) {
  return dtype == mxnet::ext::kFloat32 || dtype == mxnet::ext::kFloat64;
}

// Runs float or double code on tensors of that type; other types were refused when types were inferred.
template <typename Run>
MXReturnValue by_type(const MXTensor& tensor, const Run& run) {
  if (tensor.dtype == mxnet::ext::kFloat32) {
    run(0.0f);
  } else if (tensor.dtype == mxnet::ext::kFloat64) {
    run(0.0);
  } else {
    return fail("the binary operators take float32 or float64, got MXNet type number ",
                static_cast<int>(tensor.dtype));
  }
  return MX_SUCCESS;
}

}  // namespace mxnet_side
}  // namespace gluon_bnn

#endif  // GLUON_BNN_MXNET_SIDE_H_
