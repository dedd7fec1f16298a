# `make demo` and `make test` need nothing but Python 3.11 or later: they make .venv themselves.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DEMO := runs/demo

# The tests start many processes; without bytecode on disk each would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow drill drill-fast test-lowest test-newest lint types layers docs wheel clean

demo: $(READY)
	$(BIN)/scorefield text-to-3d "a red mushroom" --out $(DEMO) $(if $(wildcard $(DEMO)),--resume)

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto -m "not slow"

test-slow: $(READY)
	$(BIN)/pytest -q -m slow

# Damaged files, kills, full disks, random commands; stopped, it goes on where it was.
drill: $(READY)
	$(BIN)/python tests/drill

drill-fast: $(READY)
	rm -rf build/drill-fast
	$(BIN)/python tests/drill --fast --out build/drill-fast

# Every command once with the lowest direct versions that pyproject.toml allows, and with the newest;
# torch is what pip finds a wheel of.
test-lowest:
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install -q -c constraints.txt torch
	build/lowest/bin/python tests/bounds.py > build/lowest/constraints.txt
	build/lowest/bin/pip install -q -c build/lowest/constraints.txt ".[control,lora,svg,test,video]"
	build/lowest/bin/python tests/drill --only commands --out build/lowest/drill

test-newest:
	rm -rf build/newest
	$(PYTHON) -m venv build/newest
	build/newest/bin/pip install -q -c constraints.txt torch
	build/newest/bin/pip install -q ".[control,lora,svg,test,video]"
	build/newest/bin/python tests/drill --only commands --out build/newest/drill

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

# The notice is of the theme's makers, about another program.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

wheel: $(READY)
	rm -rf build/lib dist
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .

clean:
	rm -rf build dist scorefield.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find priors sds perception control src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: a wheel for the CPU that pip is configured to find is then taken,
# and what follows leaves it in place.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e ".[test,dev,docs]"
	$(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), \
	    'scorefield-checkout.pth').write_text('$(CURDIR)/src\n')"
	touch $@
