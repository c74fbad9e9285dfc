// A strict reader of JSON for texts whose structure is known: the caller says what comes next, and anything else is an
// error with a message. So there is no tree, no recursion, and no more memory than names take.
//
// Numbers must be whole and at least 0 (or -0), since the header of a safetensors file has no others.
#ifndef GLUON_BNN_INFERENCE_JSON_H_
#define GLUON_BNN_INFERENCE_JSON_H_

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "error.h"

namespace gluon_bnn {

class JsonReader {
 public:
  // The text must outlive the reader. It has to be UTF-8.
  explicit JsonReader(std::string_view text);

  // Calls member(name) for each member of the object that comes next; it has to read the member's value. No name may be
  // there twice.
  template <typename Member>
  void object(const Member& member) {
    std::set<std::string> names;
    expect('{');
    if (next_is('}')) return;
    do {
      const auto [name, is_new] = names.insert(string());
      if (!is_new) bad("a name is there twice");
      expect(':');
      member(*name);
    } while (next_is(','));
    expect('}');
  }

  // Calls element() for each element of the array that comes next; it has to read it.
  template <typename Element>
  void array(const Element& element) {
    expect('[');
    if (next_is(']')) return;
    do {
      element();
    } while (next_is(','));
    expect(']');
  }

  // The string that comes next, in UTF-8.
  std::string string();

  // The whole number from 0 on that comes next.
  int64_t number();

  // Nothing but white space follows.
  void end();

 private:
  [[noreturn]] void bad(const char* what) const;
  void skip_space();
  bool next_is(char c);
  void expect(char c);
  uint32_t four_hexadecimal_digits();

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_JSON_H_
