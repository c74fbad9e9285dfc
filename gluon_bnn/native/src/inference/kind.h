// What a kind of node is: a class whose constructor reads and checks one node of a file, and whose `run` computes it.
//
// A new kind is one file in kinds/ and one line in kinds/kinds.h. Its meaning, bit for bit, is its NumPy twin in
// gluon_bnn/graph/kinds/.
#ifndef GLUON_BNN_INFERENCE_KIND_H_
#define GLUON_BNN_INFERENCE_KIND_H_

#include <cstdint>
#include <iterator>
#include <memory>
#include <string_view>
#include <vector>

#include "error.h"
#include "form.h"
#include "gluon_bnn.h"
#include "kernels/table.h"

namespace gluon_bnn {

constexpr int64_t kMostElements = GLUON_BNN_MOST_INPUTS;  // of a row of a value, and the largest number of an attribute
constexpr size_t kMostSources = 64;                       // of a node

using Shape = std::vector<int64_t>;

// What a node gives for each row: (features,), or (height, width, channels). Bits are packed along the last axis.
struct Value {
  Form form = Form::kFloat;
  Shape shape;
  bool pixels = false;  // can also be passed as uint8

  int64_t channels() const { return shape.back(); }
  // The number of pixels of an image: dense layers work on the last axis, so for them these are rows.
  int64_t places() const { return shape.size() == 1 ? 1 : shape[0] * shape[1]; }
  int64_t size() const { return places() * channels(); }
  int64_t words() const { return form == Form::kFloat ? size() : places() * ceil_div(channels(), kWord); }
};

struct NodeText;
struct Tensor;

// The parts of a node in a file. A constructor takes all of them: the sources first, then the attributes in the order
// in which the file has them, then the arrays. A part that is missing, does not fit, or is left over when the
// constructor is done ends loading with a message that names it.
class Parts {
 public:
  Parts(size_t index, const NodeText& text, const std::vector<Value>& taken, std::vector<Tensor>& tensors)
      : index_(index), text_(text), taken_(taken), tensors_(tensors) {}

  // The values that the node takes; at least `least` and at most `most` of them.
  const std::vector<Value>& sources(size_t least, size_t most);
  const Value& source() { return sources(1, 1)[0]; }
  // The same, all of them floats.
  const std::vector<Value>& float_sources(size_t least, size_t most);
  const Value& float_source() { return float_sources(1, 1)[0]; }

  // The next attribute: a whole number from `least` on, a shape, whole numbers from 0 on, or the index of one of
  // `words`.
  int64_t number(const char* name, int64_t least);
  Shape sizes(const char* name);
  Shape places(const char* name);
  size_t word(const char* name, const std::vector<const char*>& words);
  // The element of `table` whose name is the next attribute.
  template <typename Table>
  const auto& choice(const char* name, const Table& table) {
    std::vector<const char*> words;
    for (const auto& each : table) words.push_back(each.name);
    return std::begin(table)[word(name, words)];
  }

  // An array: finite floats, or integers. `has` says whether there is one, and whether it has this shape.
  bool has(const char* name) const;
  bool has(const char* name, const Shape& shape) const;
  const float* floats(const char* name, const Shape& shape);
  const int32_t* integers(const char* name, const Shape& shape);
  // The array, or null where there is none.
  const float* floats_if_any(const char* name, const Shape& shape);

  // The shape of `x` with another size of its last axis.
  Shape shape_of(const Value& x, int64_t channels) const;

  // Ends loading with this message.
  [[noreturn]] void refuse(const char* format, ...) const __attribute__((format(printf, 2, 3)));

  // To be called after the constructor: no attribute is left.
  void end() const;

 private:
  std::string_view attribute(const char* name);
  Tensor* find(const char* name) const;
  const void* take(const char* name, const Shape& shape, bool is_float);

  size_t index_;
  const NodeText& text_;
  const std::vector<Value>& taken_;
  std::vector<Tensor>& tensors_;  // of the whole file
  size_t attributes_ = 0;         // how many have been taken
};

class Node {
 public:
  virtual ~Node() = default;

  // True where `run` computes on uint8 in the place of its source's floats; the source then has pixels.
  virtual bool takes_pixels() const { return false; }
  // True where a result would be a copy of the source, byte for byte.
  virtual bool is_view() const { return false; }

  // y = the node's value for `rows` rows of the values that it takes. Where `pixels`, xs[0] is uint8; a node that gives
  // pixels, since it only moves elements, then gives uint8 as well.
  virtual void run(int64_t rows, bool pixels, const void* const* xs, void* y) const = 0;

  Value value;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_KIND_H_
