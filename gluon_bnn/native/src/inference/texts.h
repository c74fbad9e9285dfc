// The texts of a model file: their parts, their numbers, and how messages show them.
#ifndef GLUON_BNN_INFERENCE_TEXTS_H_
#define GLUON_BNN_INFERENCE_TEXTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gluon_bnn {

std::vector<std::string_view> split(std::string_view text, std::string_view separator);

// The number that a text of 1 to 10 digits is, without zeros before it.
std::optional<int64_t> whole_number(std::string_view text);

// The sizes of a text like 1x28x28: 1 to 31 numbers from 1 on, whose product is at most kMostElements.
std::optional<std::vector<int64_t>> sizes_in(std::string_view text);

// The numbers of a text like 0x1: 1 to 31 of them, from 0 to kMostElements.
std::optional<std::vector<int64_t>> places_in(std::string_view text);

// What a message shows of a text: its first 80 bytes, those that are not printable ASCII as ?.
std::string shown(std::string_view text);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_TEXTS_H_
