// The op of a GPU or of its emulator: from PyTorch's tensors to a launcher.
#pragma once

#include <vector>

#include "inputs.h"
#include "lmmd_launch.h"

namespace fdan_edge {

inline Type type_of(ScalarType type) {
  switch (type) {
    case ScalarType::Half: return Type::HALF;
    case ScalarType::BFloat16: return Type::BFLOAT16;
    case ScalarType::Double: return Type::DOUBLE;
    default: return Type::FLOAT;
  }
}

// What a kernel has reported: a label out of range, and the number of classes of its call.
inline std::string wrong_label(const int64_t (&report)[2], const char* of) {
  return "label " + std::to_string(report[0]) + of + " is out of range: " + std::to_string(report[1]) +
         " classes are 0 to " + std::to_string(report[1] - 1);
}

template <class Launcher>
Outputs lmmd_by(Launcher& launcher, const Inputs& in, int64_t* report) {
  if (in.rows() > (1 << 24) || in.width > (1 << 20) || in.classes > (1 << 20))
    fail("more than 2^24 rows, or 2^20 features or classes, do not fit a GPU call");
  const Outputs out = empty_outputs(in);
  const Call call{in.z_visual.const_data_ptr(),
                  in.z_acoustic.const_data_ptr(),
                  in.y_visual.const_data_ptr(),
                  in.y_acoustic.const_data_ptr(),
                  std::get<0>(out).mutable_data_ptr(),
                  std::get<1>(out).mutable_data_ptr(),
                  report,
                  type_of(in.type()),
                  int(in.n_visual),
                  int(in.n_acoustic),
                  int(in.width),
                  int(in.classes),
                  in.sum_type() == ScalarType::Double,
                  in.soft,
                  in.shared_only,
                  in.gradient,
                  in.kernels};
  std::vector<Tensor> memory;
  device::start(launcher, call, [&](int64_t bytes) {
    const torch::headeronly::IntHeaderOnlyArrayRef shape(&bytes, size_t(1));
    memory.push_back(torch::stable::new_empty(in.z_visual, shape, ScalarType::Byte));
    return memory.back().mutable_data_ptr();
  });
  return out;
}

}  // namespace fdan_edge
