#include "inference/model_file.h"

#include <algorithm>
#include <cstring>

#include "inference/crc32.h"
#include "inference/json.h"
#include "inference/kind.h"
#include "inference/texts.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kMostHeader = INT64_C(1) << 24;  // bytes
constexpr int64_t kMostNodes = INT64_C(1) << 16;
constexpr size_t kMostTensorAxes = 3;  // of any tensor of a net
constexpr size_t kMostLabel = 255;     // bytes
constexpr size_t kMostDecimals = 400;  // of the accuracy
constexpr int64_t kElement = 4;        // bytes of a number

struct Header {
  std::string line;
  std::vector<Tensor> tensors;
};

Tensor read_tensor(JsonReader& json, const std::string& name) {
  Tensor tensor;
  tensor.name = name;
  int64_t end = 0;
  int members = 0;
  json.object([&](const std::string& member) {
    ++members;
    if (member == "dtype") {
      const std::string dtype = json.string();
      tensor.is_float = dtype == "F32";
      if (!tensor.is_float && dtype != "I32") {
        bad_file("tensor %s must be F32 or I32, got %s", shown(name).c_str(), shown(dtype).c_str());
      }
    } else if (member == "shape") {
      json.array([&] {
        if (tensor.shape.size() == kMostTensorAxes) {
          bad_file("tensor %s must have at most %zu axes", shown(name).c_str(), kMostTensorAxes);
        }
        tensor.shape.push_back(json.number());
      });
    } else if (member == "data_offsets") {
      int count = 0;
      json.array([&] {
        int64_t ignored;
        (count == 0 ? tensor.begin : count == 1 ? end : ignored) = json.number();
        ++count;
      });
      if (count != 2) bad_file("data_offsets of tensor %s must be two numbers", shown(name).c_str());
    } else {
      bad_file("tensor %s must have dtype, shape and data_offsets, got %s", shown(name).c_str(), shown(member).c_str());
    }
  });
  if (members != 3) bad_file("tensor %s must have dtype, shape and data_offsets", shown(name).c_str());
  // Both are below 10^18, so nothing overflows. The shape is held against what the nodes want, which is not empty.
  tensor.count = (end - tensor.begin) / kElement;
  int64_t left = tensor.count;
  for (const int64_t size : tensor.shape) left = size > 0 && left % size == 0 ? left / size : 0;
  if (end <= tensor.begin || (end - tensor.begin) % kElement != 0 || left != 1) {
    bad_file("the data_offsets of tensor %s do not fit its shape, or it is empty", shown(name).c_str());
  }
  return tensor;
}

Header read_header(std::string_view text) {
  Header header;
  bool has_line = false;
  JsonReader json(text);
  if (text[0] != '{') bad_file("it is no safetensors file, or damaged: its header must start with {");
  json.object([&](const std::string& name) {
    if (name != "__metadata__") {
      header.tensors.push_back(read_tensor(json, name));
      return;
    }
    json.object([&](const std::string& key) {
      std::string value = json.string();
      if (key == "gluon_bnn") {
        header.line = std::move(value);
        has_line = true;
      }
    });
  });
  json.end();
  if (!has_line) bad_file("its header has no metadata \"gluon_bnn\", so no runtime.save has written it");
  return header;
}

// std::sort is long to compile, so both orders share one.
void sort(std::vector<Tensor>& tensors, bool (*before)(const Tensor&, const Tensor&)) {
  std::sort(tensors.begin(), tensors.end(), before);
}

// The end of the last tensor. They lie one after the other, without gaps.
int64_t check_places(std::vector<Tensor>& tensors) {
  sort(tensors, [](const Tensor& a, const Tensor& b) { return a.begin < b.begin; });
  int64_t end = 0;
  for (const Tensor& tensor : tensors) {
    if (tensor.begin != end) {
      bad_file("tensor %s must begin at byte %lld, after the one before it, got %lld", shown(tensor.name).c_str(),
               static_cast<Long>(end), static_cast<Long>(tensor.begin));
    }
    end += tensor.count * kElement;
  }
  return end;
}

// Copies the tensors, which are in the order in which the file has them.
Scratch<char> take_tensors(const FileBytes& bytes, std::vector<Tensor>& tensors) {
  const auto place = [](const Tensor& tensor) { return whole_lines(tensor.count * kElement); };
  int64_t size = 0;
  for (const Tensor& tensor : tensors) size += place(tensor);
  Scratch<char> memory(1, size);
  char* to = memory[0];
  for (Tensor& tensor : tensors) {
    bytes.take(to, tensor.count * kElement);
    tensor.data = to;
    to += place(tensor);
  }
  return memory;
}

void check_crc32(std::string_view line, const std::vector<Tensor>& tensors, uint32_t expected) {
  uint32_t crc = crc32(0, line.data(), static_cast<int64_t>(line.size()));
  for (const Tensor& tensor : tensors) {
    crc = crc32(crc, tensor.name.data(), static_cast<int64_t>(tensor.name.size()));
    crc = crc32(crc, tensor.data, tensor.count * kElement);
  }
  if (crc != expected) {
    bad_file(
        "its CRC-32 is not that of its content: it was changed after it was saved; copy it again or save the net "
        "again");
  }
}

uint32_t read_crc32(std::string_view entry) {
  constexpr std::string_view kWord = "crc32 ";
  uint32_t value = 0;
  bool right = entry.size() == kWord.size() + 8 && entry.substr(0, kWord.size()) == kWord;
  for (size_t i = kWord.size(); right && i < entry.size(); ++i) {
    const char c = entry[i];
    right = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    value = value << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  if (!right) bad_file("its metadata must end in a crc32 of 8 hexadecimal digits, got \"%s\"", shown(entry).c_str());
  return value;
}

// "<kind> [<source>,<source>...] [<name>=<value>...]"
std::vector<NodeText> read_format2(const std::vector<std::string_view>& entries) {
  std::vector<NodeText> nodes;
  for (const std::string_view entry : entries) {
    NodeText node;
    node.tensors = std::to_string(nodes.size());
    const std::vector<std::string_view> words = split(entry, " ");
    node.kind = words[0];
    for (size_t i = 1; i < words.size(); ++i) {
      if (words[i].find('=') != std::string_view::npos) {
        node.attributes.emplace_back(words[i]);
        continue;
      }
      for (const std::string_view source : split(words[i], ",")) {
        const auto number = whole_number(source);
        if (i != 1 || !number || node.sources.size() == kMostSources) {
          bad_file("node %zu must be \"<kind> <source>,... <name>=<value> ...\" with at most %zu sources, got \"%s\"",
                   nodes.size(), kMostSources, shown(entry).c_str());
        }
        node.sources.push_back(*number);
      }
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

// "accuracy <0.0 to 1.0>"
bool is_accuracy(std::string_view line) {
  constexpr std::string_view kStart = "accuracy 0.";
  if (line == "accuracy 1.0") return true;
  if (line.substr(0, kStart.size()) != kStart) return false;
  const std::string_view decimals = line.substr(kStart.size());
  return !decimals.empty() && decimals.size() <= kMostDecimals &&
         decimals.find_first_not_of("0123456789") == std::string_view::npos;
}

// Control characters, of UTF-8: below 0x20, and 0x7F to 0x9F.
bool has_control(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < 0x20 || byte == 0x7F || (byte == 0xC2 && static_cast<uint8_t>(text[i + 1]) < 0xA0)) return true;
  }
  return false;
}

// The number of labels in the lines behind that of the nodes.
int64_t count_labels(const std::vector<std::string_view>& lines) {
  constexpr std::string_view kStart = "label ";
  const size_t first = lines.size() > 1 && is_accuracy(lines[1]) ? 2 : 1;
  for (size_t i = first; i < lines.size(); ++i) {
    if (lines[i].substr(0, kStart.size()) != kStart) {
      bad_file(
          "behind its nodes its metadata may have a line \"accuracy <0.0 to 1.0>\", then lines \"label <text>\", got "
          "\"%s\"",
          shown(lines[i]).c_str());
    }
    const std::string_view label = lines[i].substr(kStart.size());
    if (label.empty() || label.size() > kMostLabel || has_control(label)) {
      bad_file("a label must have 1 to %zu bytes and no control characters, got \"%s\"", kMostLabel,
               shown(label).c_str());
    }
  }
  return static_cast<int64_t>(lines.size() - first);
}

struct Line {
  std::string_view content;  // all before "; crc32"
  bool is_format1;
  std::vector<NodeText> nodes;
  int64_t labels;
  uint32_t crc;
};

Line read_line(std::string_view text) {
  const size_t end = text.rfind("; ");
  const std::string_view content = text.substr(0, end == std::string_view::npos ? 0 : end);
  const std::vector<std::string_view> lines = split(content, "\n");
  std::vector<std::string_view> entries = split(lines[0], "; ");
  const int64_t nodes = static_cast<int64_t>(entries.size()) - 1;
  const bool is_format1 = entries[0] == "format 1";
  if (!is_format1 && entries[0] != "format 2") {
    bad_file("its metadata must start with \"format 1; \" or \"format 2; \", got \"%s\": a later version may read it",
             shown(entries[0]).c_str());
  }
  if (nodes < 2 || nodes > kMostNodes) {
    bad_file("its metadata must have a format, an input, 1 to %lld nodes more and a crc32, got %zu entries",
             static_cast<Long>(kMostNodes - 1), entries.size() + 1);
  }
  const uint32_t crc = read_crc32(text.substr(end + 2));
  entries.erase(entries.begin());
  return {content, is_format1, is_format1 ? read_format1(entries) : read_format2(entries), count_labels(lines), crc};
}

}  // namespace

ModelFile read_model_file(const FileBytes& bytes) {
  uint8_t start[8] = {};
  uint64_t length = 0;
  if (bytes.size >= 8) bytes.take(start, 8);
  for (int i = 7; i >= 0; --i) length = length << 8 | start[i];
  if (length < 2 || length > static_cast<uint64_t>(std::min(bytes.size - 8, kMostHeader))) {
    bad_file(
        "a safetensors file starts with the length of its header, 2 to %lld and no more than the file has; got %llu",
        static_cast<Long>(kMostHeader), static_cast<unsigned long long>(length));
  }
  std::string text(length, '\0');
  bytes.take(text.data(), static_cast<int64_t>(length));
  Header header = read_header(text);
  Line line = read_line(header.line);
  const int64_t size = 8 + static_cast<int64_t>(length) + check_places(header.tensors);
  if (size != bytes.size) {
    bad_file("it must have %lld bytes, got %lld: copy it again, the copy was cut off or something was added",
             static_cast<Long>(size), static_cast<Long>(bytes.size));
  }
  Scratch<char> memory = take_tensors(bytes, header.tensors);
  sort(header.tensors, [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  check_crc32(line.content, header.tensors, line.crc);
  return {line.is_format1, std::move(line.nodes), line.labels, std::move(header.tensors), std::move(memory)};
}

}  // namespace gluon_bnn
