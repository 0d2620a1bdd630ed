// The launches on a GPU: the current stream of the features' device, no synchronisation, every launch checked.

#define USE_CUDA  // declares the current stream in the stable ABI
#include <cuda_runtime.h>

#include "lmmd_launch.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

namespace fdan_edge {
namespace {

class DeviceBlock {
 public:
  __device__ int index() const { return blockIdx.x; }
  __device__ int count() const { return gridDim.x; }

  template <class F>
  __device__ __forceinline__ void each(F&& run) {
    run(int(threadIdx.x));
    __syncthreads();
  }

  template <class T>
  class Private {
   public:
    __device__ __forceinline__ T& operator[](int) { return value_; }

   private:
    T value_;
  };

  __device__ bool last(unsigned* counter, unsigned blocks) const {
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicAdd(counter, 1u) == blocks - 1;
    __syncthreads();
    __threadfence();
    return is_last;
  }

  template <class T>
  __device__ __forceinline__ T fresh(const T* p) const {
    return __ldcg(p);
  }
};

template <class Kernel, class T>
__global__ void __launch_bounds__(device::THREADS, sizeof(T) == 4 ? 2 : 1) entry(const device::Job<T> job) {
  __shared__ device::SharedMemory<Kernel, T> shared;
  DeviceBlock block;
  Kernel::body(block, shared, job);
}

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("lmmd: ") + what + ": " + cudaGetErrorString(error));
}

struct DeviceLauncher {
  cudaStream_t stream;

  template <class Kernel, class T>
  void run(int blocks, const device::Job<T>& job) {
    entry<Kernel, T><<<blocks, device::THREADS, 0, stream>>>(job);
    check(cudaGetLastError(), "a kernel could not be launched");
  }
};

// Memory of the host that kernels write a label out of range to. Looking at it costs no synchronisation; the error
// comes with the first call after the kernel has run, and the wrong call's own value is NaN.
int64_t* report_of() {
  static int64_t* const report = [] {
    // An allocation would end a graph capture that is under way in this thread.
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    check(cudaThreadExchangeStreamCaptureMode(&mode), "the capture mode could not be set");
    void* memory = nullptr;
    const cudaError_t error = cudaHostAlloc(&memory, sizeof(int64_t), cudaHostAllocMapped | cudaHostAllocPortable);
    check(cudaThreadExchangeStreamCaptureMode(&mode), "the capture mode could not be set back");
    check(error, "no pinned memory");
    *static_cast<int64_t*>(memory) = device::NO_REPORT;
    return static_cast<int64_t*>(memory);
  }();
  return report;
}

void raise_reported(int64_t classes) {
  volatile int64_t* report = report_of();
  const int64_t label = *report;
  if (label == device::NO_REPORT) return;
  *report = device::NO_REPORT;
  fail("label " + std::to_string(label) + " of an earlier call was out of range (its value was NaN): " +
       std::to_string(classes) + " classes are 0 to " + std::to_string(classes - 1));
}

}  // namespace

Outputs lmmd_cuda(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual, const Tensor& y_acoustic,
                  int64_t classes, bool shared_only, int64_t kernels, double ratio, bool gradient) {
  const Inputs in =
      checked(z_visual, z_acoustic, y_visual, y_acoustic, classes, shared_only, kernels, ratio, gradient);
  const int index = in.z_visual.get_device_index();
  for (const Tensor* t : {&in.z_acoustic, &in.y_visual, &in.y_acoustic})
    if (t->get_device_index() != index || !t->is_cuda()) fail("features and labels must be on one device");
  const torch::stable::accelerator::DeviceGuard guard(index);
  raise_reported(classes);
  const Outputs out = empty_outputs(in);
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index, &stream));
  DeviceLauncher launcher{static_cast<cudaStream_t>(stream)};
  if (in.sum_type() == ScalarType::Double)
    device::call<double>(launcher, in, out, report_of());
  else
    device::call<float>(launcher, in, out, report_of());
  return out;
}

}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CUDA, m) {
  m.impl("lmmd", TORCH_BOX(&fdan_edge::lmmd_cuda));
  m.impl("lmmd_forward", TORCH_BOX(&fdan_edge::lmmd_cuda));
}
