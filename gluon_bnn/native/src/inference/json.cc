#include "inference/json.h"

namespace gluon_bnn {
namespace {

constexpr int kMostDigits = 18;  // of a number: what int64 holds in any case

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(uint32_t code, std::string* to) {
  const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;  // bytes after the first
  constexpr uint32_t kFirst[] = {0, 0xC0, 0xE0, 0xF0};
  to->push_back(static_cast<char>(kFirst[more] | code >> 6 * more));
  for (int i = more - 1; i >= 0; --i) to->push_back(static_cast<char>(0x80 | (code >> 6 * i & 0x3F)));
}

// Neither cut-off characters nor surrogates, nor what has a shorter form or is beyond the last character.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) { return static_cast<uint8_t>(at < text.size() ? text[at] : 0); };
    const uint8_t first = byte(i);
    const size_t more = first < 0x80   ? 0
                        : first < 0xC2 ? 4
                        : first < 0xE0 ? 1
                        : first < 0xF0 ? 2
                        : first < 0xF5 ? 3
                                       : 4;
    if (more == 4) return false;
    const uint8_t second = byte(i + 1);
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
        (first == 0xF4 && second > 0x8F)) {
      return false;
    }
    for (size_t k = 1; k <= more; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    i += 1 + more;
  }
  return true;
}

}  // namespace

JsonReader::JsonReader(std::string_view text) : text_(text) {
  if (!is_utf8(text)) bad("it is not UTF-8");
}

void JsonReader::bad(const char* what) const {
  bad_file("it is no safetensors file, or damaged: its header cannot be read (%s, at byte %lld)", what,
           static_cast<Long>(at_));
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
}

bool JsonReader::next_is(char c) {
  skip_space();
  if (at_ == text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void JsonReader::expect(char c) {
  const char what[] = {'\'', c, '\'', ' ', 'i', 's', ' ', 'm', 'i', 's', 's', 'i', 'n', 'g', '\0'};
  if (!next_is(c)) bad(what);
}

void JsonReader::end() {
  skip_space();
  if (at_ != text_.size()) bad("something follows its end");
}

int64_t JsonReader::number() {
  skip_space();
  if (text_.substr(at_, 2) == "-0") ++at_;
  const size_t begin = at_;
  int64_t value = 0;
  for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
    if (at_ - begin == kMostDigits) bad("a number is too large");
    value = 10 * value + (text_[at_] - '0');
  }
  if (at_ == begin) bad("a whole number from 0 on is missing");
  if (text_[begin] == '0' && at_ - begin > 1) bad("a number begins with 0");
  if (at_ < text_.size() && std::string_view(".eE").find(text_[at_]) != std::string_view::npos) {
    bad("a number is not written as a whole one");
  }
  return value;
}

uint32_t JsonReader::four_hexadecimal_digits() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0', lower = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (lower < 'a' || lower > 'f')) bad("four hexadecimal digits must follow \\u");
    value = value << 4 | static_cast<uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
  }
  return value;
}

std::string JsonReader::string() {
  expect('"');
  std::string value;
  for (;;) {
    if (at_ == text_.size()) bad("a string has no end");
    const char c = text_[at_++];
    if (c == '"') return value;
    if (static_cast<uint8_t>(c) < 0x20) bad("a string has a control character");
    if (c != '\\') {
      value.push_back(c);
      continue;
    }
    constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const char escape = at_ < text_.size() ? text_[at_++] : '\0';
    if (const size_t index = kEscapes.find(escape); index != std::string_view::npos) {
      value.push_back(kMeanings[index]);
      continue;
    }
    if (escape != 'u') bad("a string has an unknown escape");
    uint32_t code = four_hexadecimal_digits();
    if (code >= 0xD800 && code < 0xE000) {  // two of them make a character
      if (code >= 0xDC00 || text_.substr(at_, 2) != "\\u") bad("half of a surrogate pair");
      at_ += 2;
      const uint32_t low = four_hexadecimal_digits();
      if (low < 0xDC00 || low >= 0xE000) bad("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(code, &value);
  }
}

}  // namespace gluon_bnn
