// The CUDA implementation on the CPU, one block and one thread after another: for tests, where no GPU is at hand.

#include <memory>
#include <vector>

#include "lmmd_launch.h"

namespace fdan_edge {
namespace {

class HostBlock {
 public:
  HostBlock(int index, int count) : index_(index), count_(count) {}
  int index() const { return index_; }
  int count() const { return count_; }

  template <class F>
  void each(F&& run) {
    for (int thread = 0; thread < device::THREADS; ++thread) run(thread);
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
};

struct HostLauncher {
  template <class Kernel, class T>
  void run(int blocks, const device::Job<T>& job) {
    const auto shared = std::make_unique<device::SharedMemory<Kernel, T>>();
    for (int index = 0; index < blocks; ++index) {
      HostBlock block(index, blocks);
      Kernel::body(block, *shared, job);
    }
  }
};

}  // namespace

Outputs lmmd_emulated(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual,
                      const Tensor& y_acoustic, int64_t classes, bool shared_only, int64_t kernels, double ratio,
                      bool gradient) {
  const Inputs in =
      checked(z_visual, z_acoustic, y_visual, y_acoustic, classes, shared_only, kernels, ratio, gradient);
  const Outputs out = empty_outputs(in);
  HostLauncher launcher;
  int64_t report = 0;
  if (in.sum_type() == ScalarType::Double)
    device::call<double>(launcher, in, out, &report);
  else
    device::call<float>(launcher, in, out, &report);
  return out;
}

}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CPU, m) {
  m.impl("lmmd_emulated", TORCH_BOX(&fdan_edge::lmmd_emulated));
}
