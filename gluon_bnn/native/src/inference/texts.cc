#include "inference/texts.h"

#include "inference/kind.h"

namespace gluon_bnn {
namespace {

constexpr size_t kMostAxes = 31;  // of one input

}  // namespace

std::vector<std::string_view> split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + separator.size());
  }
}

std::optional<int64_t> whole_number(std::string_view text) {
  if (text.empty() || text.size() > 10 || (text[0] == '0' && text.size() > 1)) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = 10 * value + (c - '0');
  }
  return value;
}

std::optional<std::vector<int64_t>> places_in(std::string_view text) {
  std::vector<int64_t> places;
  for (const std::string_view part : split(text, "x")) {
    const auto place = whole_number(part);
    if (!place || *place > kMostElements || places.size() == kMostAxes) return std::nullopt;
    places.push_back(*place);
  }
  return places;
}

std::optional<std::vector<int64_t>> sizes_in(std::string_view text) {
  auto sizes = places_in(text);
  int64_t elements = 1;
  for (size_t i = 0; sizes && i < sizes->size(); ++i) {
    const int64_t size = (*sizes)[i];
    if (size < 1 || size > kMostElements / elements) return std::nullopt;
    elements *= size;
  }
  return sizes;
}

std::string shown(std::string_view text) {
  std::string result(text.substr(0, 80));
  for (char& c : result) c = c < ' ' || c > '~' ? '?' : c;
  return result;
}

}  // namespace gluon_bnn
