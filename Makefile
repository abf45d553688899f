# Everything a developer or CI runs. `make demo` and `make test` need Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long lint check docs refresh-docs clean

demo: $(VENV)/ready
	rm -rf demo
	$(BIN)/histo-index demo -o demo

# In processes of their own, two at a time, the longest first: OpenVINO, torch's data loading and the
# report's libraries in one were seen to crash it.
TESTS := promises search training serve cli encoder docs report
# Importing torchvision takes as long as importing torch; training needs it, the encoder does not.
FILES_torchvision := tests/encoder/runtime/test_resnet.py
FILES_cluster := $(wildcard tests/promises/test_24_*.py)
# They share an index with the other tests of the server.
FILES_server := $(wildcard tests/promises/test_2[0-3]_*.py)
FILES_promises := tests/promises $(FILES_server:%=--ignore %) $(FILES_cluster:%=--ignore %)
FILES_serve := tests/serve $(FILES_server)
FILES_encoder := tests/encoder tests/gpu --ignore tests/encoder/training \
	--ignore $(FILES_torchvision)
FILES_docs := tests/test_docs.py tests/test_docs_cli.py tests/test_tour.py
FILES_search := tests/indexer tests/search tests/api tests/commands tests/features \
	$(filter-out $(FILES_docs),$(wildcard tests/test_*.py))
FILES_cli := tests/cli tests/demo
FILES_training := tests/encoder/training $(FILES_torchvision)
FILES_report := tests/report tests/cluster $(FILES_cluster)
.PHONY: $(TESTS:%=test-%)

test: $(VENV)/ready
	$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(TESTS:%=test-%)

# Temporary folders lie in memory: a process that is killed loses nothing there. The long form of the
# promises uses the disk.
IN_MEMORY := $(BIN)/python tests/in_memory.py

# Children that import torch take 6 s of CPU with its bytecode kept, and 14 s without.
unexport PYTHONDONTWRITEBYTECODE

# Two groups share the cores: threads of OpenMP that wait for each other turn round and round.
test $(TESTS:%=test-%): export OMP_NUM_THREADS := 1

$(TESTS:%=test-%): test-%: $(VENV)/ready
	$(IN_MEMORY) $(BIN)/pytest $(FILES_$*)

# The promises of docs/promises.md and the simulations at full length: minutes to an hour, and a
# table at the end.
test-long: $(VENV)/ready
	$(BIN)/pytest tests/promises tests/search/test_coverage.py tests/search/test_bootstrap.py tests/search/test_reader_properties.py \
		tests/search/classification tests/encoder/importing/test_recipes.py tests/encoder/runtime/test_openvino.py \
		tests/serve/test_browser.py --long
	$(BIN)/pytest tests/encoder/training/test_resuming.py --long

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

# The pages of docs/ as a site in site/, which opens from files: site/index.html.
docs: $(VENV)/docs-ready
	$(BIN)/python tests/draw_pictures.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	rm site/404.html  # for web servers: opened as a file it has no style
	@echo "open site/index.html"

# Write what the commands of README and docs print now, the options of docs/cli.md, and the notebook.
refresh-docs: $(VENV)/ready
	$(BIN)/python tests/refresh_docs.py

# uv installs in seconds what takes pip minutes; constraints.txt names the versions tested.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/docs-ready: $(VENV)/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
