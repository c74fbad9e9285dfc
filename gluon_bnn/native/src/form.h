// The form of a value of a deployed net: floats, or bits that stand for +1 and -1 (bit 1) or for 1 and 0 (bit 1).
#ifndef GLUON_BNN_FORM_H_
#define GLUON_BNN_FORM_H_

namespace gluon_bnn {

enum class Form { kFloat, kBits, kBits01 };
struct FormName {
  const char* name;
  Form form;
};
constexpr FormName kForms[] = {{"float", Form::kFloat}, {"bits", Form::kBits}, {"bits01", Form::kBits01}};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_FORM_H_
