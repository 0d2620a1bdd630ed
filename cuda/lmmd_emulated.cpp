// The CUDA implementation on the CPU, one block and one thread after another: for tests, where no GPU is at hand.

#include <memory>
#include <string>
#include <vector>

#include "lmmd_launch.h"

namespace fdan_edge {
namespace {

class HostBlock {
 public:
  HostBlock(int index, int count, bool backwards) : index_(index), count_(count), backwards_(backwards) {}
  int index() const { return index_; }
  int count() const { return count_; }

  template <class F>
  void each(F&& run) {
    for (int i = 0; i < device::THREADS; ++i) run(backwards_ ? device::THREADS - 1 - i : i);
  }

  template <class T>
  class Private {
   public:
    Private() : values_(device::THREADS) {}
    T& operator[](int thread) { return values_[thread]; }

   private:
    std::vector<T> values_;
  };

  bool last(unsigned* counter, unsigned blocks) const { return ++*counter == blocks; }

  template <class T>
  T fresh(const T* p) const {
    return *p;
  }

 private:
  int index_, count_;
  bool backwards_;
};

// Backwards, the last block and the last thread come first: numbers that one thread reads while another one writes
// them, without a barrier in between, come out differently.
struct HostLauncher {
  bool backwards;

  template <class Kernel, class T>
  void run(int blocks, const device::Job<T>& job) {
    const auto shared = std::make_unique<device::SharedMemory<Kernel, T>>();
    for (int i = 0; i < blocks; ++i) {
      HostBlock block(backwards ? blocks - 1 - i : i, blocks, backwards);
      Kernel::body(block, *shared, job);
    }
  }
};

}  // namespace

Outputs lmmd_emulated(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual,
                      const Tensor& y_acoustic, int64_t classes, bool shared_only, int64_t kernels, double ratio,
                      bool gradient, bool backwards) {
  const Inputs in =
      checked(z_visual, z_acoustic, y_visual, y_acoustic, classes, shared_only, kernels, ratio, gradient);
  const Outputs out = empty_outputs(in);
  HostLauncher launcher{backwards};
  int64_t report = device::NO_REPORT;
  if (in.sum_type() == ScalarType::Double)
    device::call<double>(launcher, in, out, &report);
  else
    device::call<float>(launcher, in, out, &report);
  if (report != device::NO_REPORT) fail("label " + std::to_string(report) + " is out of range");
  return out;
}

}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CPU, m) {
  m.impl("lmmd_emulated", TORCH_BOX(&fdan_edge::lmmd_emulated));
}
