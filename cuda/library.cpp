// The ops' schemas, and the Python module `fdan_edge._C` whose import registers them.

#include <Python.h>
#include <torch/csrc/stable/library.h>

#include <string>

STABLE_TORCH_LIBRARY(fdan_edge, m) {
  // The value and, where `gradient` is set, its derivative with respect to [faces; voices] (else 0 rows).
  m.def(
      "lmmd(Tensor z_visual, Tensor z_acoustic, Tensor y_visual, Tensor y_acoustic, int num_classes, "
      "bool shared_only, int kernels, float ratio, bool gradient) -> (Tensor, Tensor)");
  // The same without a registered derivative, for callers that have their own: PyTorch's way to one that is written
  // in Python takes as long as a small call.
  m.def(
      "lmmd_forward(Tensor z_visual, Tensor z_acoustic, Tensor y_visual, Tensor y_acoustic, int num_classes, "
      "bool shared_only, int kernels, float ratio, bool gradient) -> (Tensor, Tensor)");
  // For tests: the kernels of the GPU, run on the CPU.
  m.def(
      "lmmd_emulated(Tensor z_visual, Tensor z_acoustic, Tensor y_visual, Tensor y_acoustic, int num_classes, "
      "bool shared_only, int kernels, float ratio, bool gradient, bool backwards=False) -> "
      "(Tensor, Tensor)");
  // Batch normalisation in two halves each way: moments are mean and sum of squares about it, (2, c) float64, over
  // `rows` rows; act is 0 (none), 1 (relu) or 2 (relu6).
  m.def("norm_moments(Tensor x) -> Tensor");
  m.def("norm_apply(Tensor x, Tensor moments, int rows, Tensor weight, Tensor bias, float eps, int act) -> Tensor");
  m.def(
      "norm_slope_sums(Tensor dy, Tensor x, Tensor moments, int rows, Tensor weight, Tensor bias, float eps, "
      "int act) -> Tensor");
  m.def(
      "norm_slopes(Tensor dy, Tensor x, Tensor moments, Tensor sums, int rows, Tensor weight, Tensor bias, "
      "float eps, int act) -> Tensor");
  // Both halves in one call, for one process: calls are most of what a small layer takes. Running statistics move by
  // `share`; forward gives y and the moments, backward the slopes of x, weight and bias.
  m.def(
      "norm_forward(Tensor x, Tensor weight, Tensor bias, Tensor(a!) running_mean, Tensor(b!) running_var, "
      "float share, float eps, int act) -> (Tensor, Tensor)");
  m.def(
      "norm_backward(Tensor dy, Tensor x, Tensor moments, Tensor weight, Tensor bias, float eps, int act) -> "
      "(Tensor, Tensor, Tensor)");
  m.def("emulated_launches() -> int");  // for tests: of the last call
  m.def("cpu_level(int limit) -> int");
  m.def("cuda_architectures() -> str");
}

// The build names them where it compiles the CUDA part, as in "75;80".
#if !defined(FDAN_EDGE_ARCHITECTURES)
#define FDAN_EDGE_ARCHITECTURES
#endif
#define TEXT_OF(...) #__VA_ARGS__
#define TEXT(...) TEXT_OF(__VA_ARGS__)

static std::string cuda_architectures() { return TEXT(FDAN_EDGE_ARCHITECTURES); }

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CompositeExplicitAutograd, m) {
  m.impl("cuda_architectures", TORCH_BOX(&cuda_architectures));
}

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", "The compiled ops of fdan-edge.", -1, nullptr};

PyMODINIT_FUNC PyInit__C(void) { return PyModule_Create(&module); }
