// What the ops take from PyTorch, checked, through the stable ABI only.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <stdexcept>
#include <string>
#include <tuple>

#include "lmmd.h"

namespace fdan_edge {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Outputs = std::tuple<Tensor, Tensor>;  // value (), gradient of [faces; voices] (rows, d)

// std::invalid_argument becomes Python's ValueError.
[[noreturn]] inline void fail(const std::string& message) { throw std::invalid_argument("lmmd: " + message); }

struct Inputs {
  Tensor z_visual, z_acoustic;  // (n_v, d), (n_a, d), contiguous, one type
  Tensor y_visual, y_acoustic;  // int64 labels (n,), or soft labels (n, C) in the type of the sums
  int64_t n_visual, n_acoustic, width, classes;
  bool soft;         // labels are weights of every class
  bool shared_only;  // divide by the classes that both sides have
  bool gradient;     // compute it along with the value
  Kernels kernels;

  int64_t rows() const { return n_visual + n_acoustic; }
  ScalarType type() const { return z_visual.scalar_type(); }
  // Sums are kept in float, or in double for double features.
  ScalarType sum_type() const { return type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float; }
};

inline Tensor dense(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }

inline void check_labels(const Tensor& labels, int64_t rows, const Inputs& in, const char* side) {
  const auto expect = [&](bool holds, const std::string& what) {
    if (!holds) fail(std::string("labels of the ") + side + " must " + what);
  };
  if (labels.size(0) != rows) expect(false, "have " + std::to_string(rows) + " rows");
  if (!in.soft) return expect(labels.scalar_type() == ScalarType::Long, "be int64");
  expect(labels.dim() == 2 && labels.size(1) == in.classes, "have one column for each class");
  expect(labels.scalar_type() == in.sum_type(), "be float32 (float64 for float64 features)");
}

inline void check_features(const Tensor& z_visual, const Tensor& z_acoustic) {
  if (z_visual.dim() != 2 || z_acoustic.dim() != 2) fail("features must have shape (rows, d)");
  const int64_t faces = z_visual.size(0), voices = z_acoustic.size(0), width = z_visual.size(1);
  if (width != z_acoustic.size(1) || width < 1)
    fail("faces have " + std::to_string(width) + " features, voices " + std::to_string(z_acoustic.size(1)));
  if (faces < 1 || voices < 1)
    fail("needs rows on both sides, got " + std::to_string(faces) + " faces and " + std::to_string(voices) +
         " voices");
  const ScalarType type = z_visual.scalar_type();
  if (type != z_acoustic.scalar_type()) fail("faces and voices must have one type");
  if (type != ScalarType::Float && type != ScalarType::Double && type != ScalarType::Half &&
      type != ScalarType::BFloat16)
    fail("features must be float16, bfloat16, float32 or float64");
}

inline Inputs checked(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual,
                      const Tensor& y_acoustic, int64_t classes, bool shared_only, int64_t kernels, double ratio,
                      bool gradient) {
  check_features(z_visual, z_acoustic);
  if (classes < 1) fail("num_classes must be 1 or more");
  if (kernels < 1 || kernels > 64 || !(ratio > 0)) fail("kernels must be 1 to 64, and ratio above 0");
  if (std::abs((kernels - 1) * std::log10(ratio)) > 30) fail("ratio^(kernels - 1) must be within 1e-30 and 1e30");
  if (y_visual.dim() != y_acoustic.dim()) fail("labels must be hard or soft on both sides");
  const Inputs in{dense(z_visual),
                  dense(z_acoustic),
                  dense(y_visual),
                  dense(y_acoustic),
                  z_visual.size(0),
                  z_acoustic.size(0),
                  z_visual.size(1),
                  classes,
                  y_visual.dim() == 2,
                  shared_only,
                  gradient,
                  kernels_of(int(kernels), ratio)};
  check_labels(in.y_visual, in.n_visual, in, "faces");
  check_labels(in.y_acoustic, in.n_acoustic, in, "voices");
  return in;
}

// The gradient has the type of the sums: that of float16 features is scaled before it is rounded.
inline Outputs empty_outputs(const Inputs& in) {
  const auto make = [&](int64_t rows, size_t dimensions) {
    const int64_t shape[2] = {rows, in.width};
    return torch::stable::new_empty(in.z_visual, torch::headeronly::IntHeaderOnlyArrayRef(shape, dimensions),
                                    in.sum_type());
  };
  return {make(0, 0), make(in.gradient ? in.rows() : 0, 2)};
}

// Calls `run` with a null pointer of the element type of the features.
template <class F>
void with_type(ScalarType type, F&& run) {
  if (type == ScalarType::Double) return run(static_cast<double*>(nullptr));
  if (type == ScalarType::Half) return run(static_cast<torch::headeronly::Half*>(nullptr));
  if (type == ScalarType::BFloat16) return run(static_cast<torch::headeronly::BFloat16*>(nullptr));
  return run(static_cast<float*>(nullptr));
}

}  // namespace fdan_edge
