#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "error.h"
#include "inference/kind.h"
#include "inference/model_file.h"
#include "inference/texts.h"

namespace gluon_bnn {
namespace {

std::string text_of(const Shape& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text;
}

}  // namespace

void Parts::refuse(const char* format, ...) const {
  char message[sizeof(Failure::message)];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  bad_file("node %zu, %s: %s", index_, text_.kind.c_str(), message);
}

const std::vector<Value>& Parts::sources(size_t least, size_t most) {
  if (taken_.size() < least || taken_.size() > most) {
    refuse("it takes the values of %zu to %zu nodes, got %zu", least, most, taken_.size());
  }
  return taken_;
}

const std::vector<Value>& Parts::float_sources(size_t least, size_t most) {
  for (const Value& value : sources(least, most)) {
    if (value.form != Form::kFloat) refuse("it takes floats, got bits");
  }
  return taken_;
}

std::string_view Parts::attribute(const char* name) {
  const std::string_view wanted = name;
  const bool any = attributes_ < text_.attributes.size();
  const std::string_view next = any ? std::string_view(text_.attributes[attributes_]) : "none";
  if (next.substr(0, wanted.size()) != wanted || next.substr(wanted.size(), 1) != "=") {
    refuse("attribute %s must come next, got %s", name, shown(next).c_str());
  }
  ++attributes_;
  return next.substr(wanted.size() + 1);
}

int64_t Parts::number(const char* name, int64_t least) {
  const std::string_view text = attribute(name);
  const auto number = whole_number(text);
  if (number && *number >= least && *number <= kMostElements) return *number;
  refuse("%s must be %lld to %lld, got %s", name, static_cast<Long>(least), static_cast<Long>(kMostElements),
         shown(text).c_str());
}

Shape Parts::sizes(const char* name) {
  const std::string_view text = attribute(name);
  if (auto sizes = sizes_in(text)) return *std::move(sizes);
  refuse("%s must be sizes from 1 on, joined by x, of at most %lld elements, got %s", name,
         static_cast<Long>(kMostElements), shown(text).c_str());
}

Shape Parts::places(const char* name) {
  const std::string_view text = attribute(name);
  if (auto places = places_in(text)) return *std::move(places);
  refuse("%s must be whole numbers, each 0 to %lld, joined by x, got %s", name, static_cast<Long>(kMostElements),
         shown(text).c_str());
}

size_t Parts::word(const char* name, const std::vector<const char*>& words) {
  const std::string_view text = attribute(name);
  std::string allowed;
  for (size_t i = 0; i < words.size(); ++i) {
    if (text == words[i]) return i;
    allowed += std::string(i == 0 ? "" : ", ") + words[i];
  }
  refuse("%s must be one of %s, got %s", name, allowed.c_str(), shown(text).c_str());
}

Tensor* Parts::find(const char* name) const {
  const std::string full = text_.tensors + "." + name;
  const auto at =
      std::lower_bound(tensors_.begin(), tensors_.end(), full,
                       [](const Tensor& tensor, const std::string& wanted) { return tensor.name < wanted; });
  return at != tensors_.end() && at->name == full ? &*at : nullptr;
}

bool Parts::has(const char* name) const { return find(name) != nullptr; }

bool Parts::has(const char* name, const Shape& shape) const { return has(name) && find(name)->shape == shape; }

const void* Parts::take(const char* name, const Shape& shape, bool is_float) {
  Tensor* tensor = find(name);
  if (tensor == nullptr) refuse("array %s is missing", name);
  if (tensor->shape != shape || tensor->is_float != is_float) {
    refuse("%s must be %s %s, got %s %s", name, is_float ? "float32" : "int32", text_of(shape).c_str(),
           tensor->is_float ? "float32" : "int32", text_of(tensor->shape).c_str());
  }
  tensor->taken = true;
  return tensor->data;
}

const float* Parts::floats(const char* name, const Shape& shape) {
  const float* array = static_cast<const float*>(take(name, shape, true));
  const int64_t count = find(name)->count;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(array[i])) refuse("%s must be finite, got %f at %lld", name, array[i], static_cast<Long>(i));
  }
  return array;
}

const int32_t* Parts::integers(const char* name, const Shape& shape) {
  return static_cast<const int32_t*>(take(name, shape, false));
}

const float* Parts::floats_if_any(const char* name, const Shape& shape) {
  return has(name) ? floats(name, shape) : nullptr;
}

Shape Parts::shape_of(const Value& x, int64_t channels) const {
  if (channels > kMostElements / x.places()) {
    refuse("a value must have at most %lld elements, got %lld times %lld", static_cast<Long>(kMostElements),
           static_cast<Long>(x.places()), static_cast<Long>(channels));
  }
  Shape shape = x.shape;
  shape.back() = channels;
  return shape;
}

void Parts::end() const {
  if (attributes_ < text_.attributes.size()) {
    refuse("attribute %s is not allowed", shown(text_.attributes[attributes_]).c_str());
  }
}

}  // namespace gluon_bnn
