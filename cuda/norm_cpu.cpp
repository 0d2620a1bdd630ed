// Batch normalisation and the activation after it, for training on the CPU: forward and backward in two passes each.
//
// A tensor (n, c, h, w) in channels-last order, or (n, c), is a matrix of n h w rows of c numbers. Each op goes over
// it in chunks of at most about 128 kB, which stay in the second-level cache. Numbers are float32 or bfloat16. Sums are
// float32 inside a chunk and float64 over chunks; the chunks are fixed, so bits do not depend on the number of threads.
//
// Sums and the rest are ops of their own, so that processes can add their sums up in between.

#include "norm_cpu.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "inputs.h"
#include "levels.h"

#define NORM_INLINE inline __attribute__((always_inline))

namespace fdan_edge {

using torch::headeronly::BFloat16;

// AVX-512 gains a fifth in bfloat16, whose numbers are widened and rounded, and a tenth in float32, bound by memory.
#if defined(X86_LEVELS)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace norm_v3 {
#include "norm_cpu.inl"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
namespace norm_v4 {
#include "norm_cpu.inl"
}
#pragma GCC pop_options
#endif
namespace norm_baseline {
#include "norm_cpu.inl"
}

namespace {

#if defined(X86_LEVELS)
#define CHOOSE(...) \
  (level >= 2 ? norm_v4::__VA_ARGS__ : level == 1 ? norm_v3::__VA_ARGS__ : norm_baseline::__VA_ARGS__)
#else
#define CHOOSE(...) (norm_baseline::__VA_ARGS__)
#endif

[[noreturn]] void refuse(const std::string& message) { throw std::invalid_argument("norm: " + message); }

void expect(bool holds, const char* what) {
  if (!holds) refuse(what);
}

// Rows of `channels` numbers, some of them side by side as one wide row: loops over channels would be too short.
struct Layout {
  int64_t channels, width, total;

  int64_t rows() const { return total / channels; }
  int64_t chunk() const { return std::max<int64_t>(32768 / width, 1) * width; }
  int64_t chunks() const { return (total + chunk() - 1) / chunk(); }
  int64_t length(int64_t index) const { return std::min(chunk(), total - index * chunk()); }
};

// Whether the numbers lie in memory as in (n, h, w, c) without gaps; strides of dimensions of size 1 mean nothing.
bool channels_are_last(const Tensor& x) {
  int64_t stride = 1;
  const auto follows = [&](int64_t dimension) {
    const bool right = x.size(dimension) == 1 || x.stride(dimension) == stride;
    stride *= x.size(dimension);
    return right;
  };
  bool right = follows(1);
  for (int64_t dimension = x.dim() - 1; dimension > 1; --dimension) right = follows(dimension) && right;
  return follows(0) && right;
}

Layout layout_of(const Tensor& x) {
  const ScalarType type = x.scalar_type();
  expect(type == ScalarType::Float || type == ScalarType::BFloat16, "tensors must be float32 or bfloat16");
  expect(x.dim() == 4 || x.dim() == 2, "tensors must have shape (n, c, h, w) or (n, c)");
  const int64_t channels = x.size(1);
  expect(channels > 0, "there must be a channel");
  expect(x.numel() == 0 || channels_are_last(x), "tensors must be contiguous in channels-last order");
  return {channels, channels * ((256 + channels - 1) / channels), x.numel()};
}

Layout layout_of(const Tensor& dy, const Tensor& x) {
  const Layout at = layout_of(x);
  layout_of(dy);
  expect(dy.scalar_type() == x.scalar_type(), "slopes must have the type of x");
  expect(dy.dim() == x.dim(), "slopes must have the shape of x");
  for (int64_t dimension = 0; dimension < x.dim(); ++dimension)
    expect(dy.size(dimension) == x.size(dimension), "slopes must have the shape of x");
  return at;
}

template <class T>
const T* checked(const Tensor& t, int64_t count, const char* what) {
  const ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;
  if (t.numel() != count || t.scalar_type() != type || !t.is_contiguous()) refuse(what);
  return t.const_data_ptr<T>();
}

template <class F>
void for_chunks(const Layout& at, const F& run) {
  torch::stable::parallel_for(0, at.chunks(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run(i);
  });
}

// Adds up the columns of each channel.
void fold(const std::vector<float>& columns, int64_t channels, double* sums) {
  std::fill_n(sums, channels, 0.0);
  for (size_t k = 0; k < columns.size(); k += channels)
    for (int64_t c = 0; c < channels; ++c) sums[c] += columns[k + c];
}

std::vector<float> repeated(const Layout& at, const std::vector<double>& values) {
  std::vector<float> columns(at.width);
  for (int64_t k = 0; k < at.width; k += at.channels)
    for (int64_t c = 0; c < at.channels; ++c) columns[k + c] = float(values[c]);
  return columns;
}

// What kernels are compiled for: the type of the numbers, and the activation.
template <class N, int A>
struct Kind {
  using T = N;
  static constexpr int ACT = A;
};

// Calls `run` with the `Kind` of a tensor.
template <int ACT, class F>
void with_numbers(const Tensor& x, const F& run) {
  if (x.scalar_type() == ScalarType::BFloat16) return run(Kind<BFloat16, ACT>());
  run(Kind<float, ACT>());
}

template <class F>
void with_activation(const Tensor& x, int64_t act, const F& run) {
  if (act == NONE) return with_numbers<NONE>(x, run);
  if (act == RELU) return with_numbers<RELU>(x, run);
  if (act == RELU6) return with_numbers<RELU6>(x, run);
  refuse("the activation must be 0 (none), 1 (relu) or 2 (relu6)");
}

// Mean of a chunk's rows and the sum of squares about it, each (channels,).
template <class T>
void moments_of(const T* x, const Layout& at, int64_t count, double* mean, double* square) {
  // Squares are taken about the mean of the first rows. Where that is off by d, the chunk's variance is at least d^2
  // times the share of these rows: little can cancel, whatever the numbers are.
  const int64_t first = std::min(count, 4 * at.width);
  std::vector<float> sums(at.width), squares(at.width);
  CHOOSE(add(x, first, at.width, sums.data()));
  fold(sums, at.channels, mean);
  std::vector<double> rough(mean, mean + at.channels);
  for (double& value : rough) value /= double(first / at.channels);
  const std::vector<float> shift = repeated(at, rough);
  std::fill(sums.begin(), sums.end(), 0.0f);
  CHOOSE(add_squares(x, count, at.width, shift.data(), sums.data(), squares.data()));
  fold(sums, at.channels, mean);
  fold(squares, at.channels, square);
  for (int64_t c = 0; c < at.channels; ++c) {
    const double rest = mean[c] / double(count / at.channels);
    square[c] -= rest * mean[c];
    mean[c] = shift[c] + rest;
  }
}

// Mean and sum of squares about it over all rows, (2, c) float64.
Tensor norm_moments(const Tensor& x) {
  const Layout at = layout_of(x);
  const int64_t channels = at.channels, shape[2] = {2, channels};
  const Tensor out = torch::stable::new_empty(x, torch::headeronly::IntHeaderOnlyArrayRef(shape, 2), ScalarType::Double);
  std::vector<double> parts(2 * channels * at.chunks());
  with_numbers<NONE>(x, [&](auto kind) {
    const auto* from = x.const_data_ptr<typename decltype(kind)::T>();
    for_chunks(at, [&](int64_t i) {
      double* part = parts.data() + 2 * channels * i;
      moments_of(from + i * at.chunk(), at, at.length(i), part, part + channels);
    });
  });
  double *mean = out.mutable_data_ptr<double>(), *square = mean + channels;
  std::fill_n(mean, 2 * channels, 0.0);
  for (int64_t i = 0; i < at.chunks(); ++i) {
    const double* part = parts.data() + 2 * channels * i;
    const double share = double(at.length(i)) / at.total;
    for (int64_t c = 0; c < channels; ++c) mean[c] += share * part[c];
  }
  for (int64_t i = 0; i < at.chunks(); ++i) {
    const double* part = parts.data() + 2 * channels * i;
    const double rows = double(at.length(i) / channels);
    for (int64_t c = 0; c < channels; ++c) {
      const double away = part[c] - mean[c];
      square[c] += part[channels + c] + away * away * rows;
    }
  }
  return out;
}

// The values of every column, from moments (2, c) over `rows` rows and, for the backward pass, sums (2, c).
struct Prepared {
  std::vector<float> mean, scale, bias, constant, linear;

  Prepared(const Layout& at, const Tensor& moments, int64_t rows, const Tensor& weight, const Tensor& bias_of,
           double eps, const Tensor* sums = nullptr) {
    const int64_t channels = at.channels;
    expect(rows > 0, "there must be rows");
    const double* m = checked<double>(moments, 2 * channels, "moments must be float64 (2, c)");
    const float* w = checked<float>(weight, channels, "weight must be float32 (c,)");
    const float* b = checked<float>(bias_of, channels, "bias must be float32 (c,)");
    std::vector<double> scales(channels), constants(channels), linears(channels);
    const double* s = sums ? checked<double>(*sums, 2 * channels, "sums must be float64 (2, c)") : nullptr;
    for (int64_t c = 0; c < channels; ++c) {
      const double variance = m[channels + c] / rows + eps;
      scales[c] = w[c] / std::sqrt(variance);
      if (!s) continue;
      constants[c] = scales[c] * s[c] / rows;
      linears[c] = scales[c] * s[channels + c] / (variance * rows);
    }
    mean = repeated(at, {m, m + channels});
    scale = repeated(at, scales);
    bias = repeated(at, {b, b + channels});
    constant = repeated(at, constants);
    linear = repeated(at, linears);
  }

  Columns columns() const { return {mean.data(), scale.data(), bias.data(), constant.data(), linear.data()}; }
};

Tensor norm_apply(const Tensor& x, const Tensor& moments, int64_t rows, const Tensor& weight, const Tensor& bias,
                  double eps, int64_t act) {
  const Layout at = layout_of(x);
  const Prepared by(at, moments, rows, weight, bias, eps);
  const Tensor y = torch::stable::empty_like(x);
  with_activation(x, act, [&](auto kind) {
    using K = decltype(kind);
    const auto* from = x.const_data_ptr<typename K::T>();
    auto* to = y.mutable_data_ptr<typename K::T>();
    for_chunks(at, [&](int64_t i) {
      const int64_t first = i * at.chunk();
      CHOOSE(apply<K::ACT>(from + first, at.length(i), at.width, by.columns(), to + first));
    });
  });
  return y;
}

// Sums of the slopes before the activation, and of their products with x - mean: (2, c) float64.
Tensor norm_slope_sums(const Tensor& dy, const Tensor& x, const Tensor& moments, int64_t rows, const Tensor& weight,
                       const Tensor& bias, double eps, int64_t act) {
  const Layout at = layout_of(dy, x);
  const Prepared by(at, moments, rows, weight, bias, eps);
  const Tensor out = torch::stable::empty_like(moments);
  const int64_t columns = 2 * at.channels;
  std::vector<double> parts(columns * at.chunks());
  with_activation(x, act, [&](auto kind) {
    using K = decltype(kind);
    const auto *slopes = dy.const_data_ptr<typename K::T>(), *from = x.const_data_ptr<typename K::T>();
    for_chunks(at, [&](int64_t i) {
      const int64_t first = i * at.chunk();
      std::vector<float> sums(at.width), products(at.width);
      CHOOSE(add_slopes<K::ACT>(slopes + first, from + first, at.length(i), at.width, by.columns(), sums.data(),
                              products.data()));
      fold(sums, at.channels, parts.data() + columns * i);
      fold(products, at.channels, parts.data() + columns * i + at.channels);
    });
  });
  double* sum = out.mutable_data_ptr<double>();
  std::fill_n(sum, columns, 0.0);
  for (size_t first = 0; first < parts.size(); first += columns)
    for (int64_t k = 0; k < columns; ++k) sum[k] += parts[first + k];
  return out;
}

Tensor norm_slopes(const Tensor& dy, const Tensor& x, const Tensor& moments, const Tensor& sums, int64_t rows,
                   const Tensor& weight, const Tensor& bias, double eps, int64_t act) {
  const Layout at = layout_of(dy, x);
  const Prepared by(at, moments, rows, weight, bias, eps, &sums);
  const Tensor dx = torch::stable::empty_like(x);
  with_activation(x, act, [&](auto kind) {
    using K = decltype(kind);
    const auto *slopes = dy.const_data_ptr<typename K::T>(), *from = x.const_data_ptr<typename K::T>();
    auto* to = dx.mutable_data_ptr<typename K::T>();
    for_chunks(at, [&](int64_t i) {
      const int64_t first = i * at.chunk();
      CHOOSE(apply_slopes<K::ACT>(slopes + first, from + first, at.length(i), at.width, by.columns(), to + first));
    });
  });
  return dx;
}

int64_t rows_of(const Tensor& x) { return x.numel() / std::max<int64_t>(x.size(1), 1); }

std::tuple<Tensor, Tensor> norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor running_mean,
                                        Tensor running_var, double share, double eps, int64_t act) {
  const Tensor moments = norm_moments(x);
  const int64_t channels = x.size(1), rows = rows_of(x);
  expect(rows > 1, "there must be two rows");
  checked<float>(running_mean, channels, "running_mean must be float32 (c,)");
  checked<float>(running_var, channels, "running_var must be float32 (c,)");
  const Tensor y = norm_apply(x, moments, rows, weight, bias, eps, act);  // it refuses before anything is changed
  const double *mean = moments.const_data_ptr<double>(), *square = mean + channels;
  float *means = running_mean.mutable_data_ptr<float>(), *variances = running_var.mutable_data_ptr<float>();
  for (int64_t c = 0; c < channels; ++c) {
    means[c] = float(means[c] + share * (mean[c] - means[c]));
    variances[c] = float(variances[c] + share * (square[c] / double(rows - 1) - variances[c]));
  }
  return {y, moments};
}

std::tuple<Tensor, Tensor, Tensor> norm_backward(const Tensor& dy, const Tensor& x, const Tensor& moments,
                                                 const Tensor& weight, const Tensor& bias, double eps, int64_t act) {
  const int64_t channels = x.size(1), rows = rows_of(x);
  const Tensor sums = norm_slope_sums(dy, x, moments, rows, weight, bias, eps, act);
  const Tensor dx = norm_slopes(dy, x, moments, sums, rows, weight, bias, eps, act);
  const Tensor d_weight = torch::stable::empty_like(weight), d_bias = torch::stable::empty_like(bias);
  const double *sum = sums.const_data_ptr<double>(), *square = moments.const_data_ptr<double>() + channels;
  float *of_weight = d_weight.mutable_data_ptr<float>(), *of_bias = d_bias.mutable_data_ptr<float>();
  for (int64_t c = 0; c < channels; ++c) {
    of_weight[c] = float(sum[channels + c] / std::sqrt(square[c] / double(rows) + eps));
    of_bias[c] = float(sum[c]);
  }
  return {dx, d_weight, d_bias};
}

}  // namespace
}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CPU, m) {
  m.impl("norm_moments", TORCH_BOX(&fdan_edge::norm_moments));
  m.impl("norm_apply", TORCH_BOX(&fdan_edge::norm_apply));
  m.impl("norm_slope_sums", TORCH_BOX(&fdan_edge::norm_slope_sums));
  m.impl("norm_slopes", TORCH_BOX(&fdan_edge::norm_slopes));
  m.impl("norm_forward", TORCH_BOX(&fdan_edge::norm_forward));
  m.impl("norm_backward", TORCH_BOX(&fdan_edge::norm_backward));
}
