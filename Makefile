# make demo: set up .venv and run the quickstart      make lab: open it in JupyterLab      make app: serve it as a page (PAGE=11_explorer: another)
# make test: set up and run the tests                 make check: lint, types, all tests but soak
# make browser, notebooks, engines, soak: a tier      make mutants: each patch there must be noticed by its tests
PYTHON ?= python3
BIN := .venv/bin
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto
OUT := outputs/quickstart
LAB := outputs/lab
APP := outputs/app
PAGE ?= 00_quickstart
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: setup demo lab app test browser notebooks engines soak mutants lint check readme clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 13) and "iskit needs Python 3.11, 3.12 or 3.13, not %d.%d: set PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	@# editable_mode=compat: found before a folder named iskit in the working directory, as the clone's own parent has
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --config-settings editable_mode=compat -e ".[dev]"
	@touch $@

demo: setup
	@mkdir -p $(OUT)
	$(BIN)/papermill notebooks/00_quickstart.ipynb $(OUT)/quickstart.ipynb --engine iskit --no-progress-bar --log-level ERROR
	@$(BIN)/iskit results quickstart
	@$(BIN)/iskit report $(OUT)/quickstart.ipynb $(OUT)/report.html

lab: setup
	@$(BIN)/python -m iskit.pages.copies lab notebooks $(LAB)
	JUPYTER_CONFIG_PATH="$(CURDIR)/notebooks/.jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	$(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" $(LAB)/00_quickstart.ipynb

# Voila's wheel ships the script that its pages else fetch from elsewhere; the template leaves out their icons.
app: setup
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --config-settings editable_mode=compat -e ".[app]"
	@$(BIN)/python -m iskit.pages.copies app notebooks $(APP)
	JUPYTER_PATH="$(CURDIR)/notebooks/.jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" \
	$(BIN)/voila $(APP)/$(PAGE).ipynb --Voila.ip=127.0.0.1 --template=offline \
		--VoilaExporter.require_js_url=/voila/templates/base/static/require.min.js

test: setup
	$(TESTS) --dist worksteal -m "not (browser or notebooks or engines or soak)"

browser notebooks engines: setup
	$(TESTS) --dist loadgroup -m "$@ and not soak"

# In short (ISKIT_SOAK_SHORT=1): the campaign alone, without the studies of 300 runs.
soak: setup
	$(TESTS) --dist loadgroup -m soak $(if $(ISKIT_SOAK_SHORT),tests/soak)

mutants: setup  # make mutants ONLY=name
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py $(ONLY)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test notebooks browser engines

readme: setup
	$(BIN)/python -c 'from pathlib import Path; from iskit.views.cards import write_pages; write_pages(Path("."))'

# docs/findings.md, the README's answer and their figures, of what is packed in outputs/reference; they need Chromium.
.PHONY: findings
findings: setup
	$(BIN)/python -c 'from pathlib import Path; from iskit.views.reference import write; write(Path("."))'

# The README's pictures, of the quickstart's runs; they need Chromium.
.PHONY: picture
picture: demo
	$(BIN)/python -c 'from pathlib import Path; from iskit.views.picture import write_pictures; write_pictures(Path("docs"))'

# docs/notebooks, the numbered pages as they look when they are run: those that have changed; they need Chromium.
.PHONY: pages
pages: setup
	$(BIN)/python -c 'from pathlib import Path; from iskit.lessons.rendered import write_pages; write_pages(Path("."))'

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
