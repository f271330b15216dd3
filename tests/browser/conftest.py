"""A JupyterLab of our own and a real browser, once per session; nothing from outside."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

WAIT_MS = 60_000
SHOTS = Path(__file__).with_name("shots")

# The notebook in the page, and what there is to be asked of it.
HELPERS = """
// Nobody is asked whether a page with changes may be left.
window.addEventListener("beforeunload", (event) => event.stopImmediatePropagation(), true);
window.orchkitTest = {
  get panel() { return jupyterapp.shell.currentWidget; },
  get ready() {
    const panel = this.panel;
    const session = panel?.sessionContext;
    return Boolean(panel?.context?.isReady && session?.isReady && session.session?.kernel);
  },
  shows(path) {
    return this.ready && this.panel.context.path === path;
  },
  async leave() {
    const { panel } = this;
    await panel.sessionContext.shutdown();
    panel.dispose();
  },
  // What was sent while a cell before it was failing, the kernel does not run: then it is sent again.
  async run(index) {
    const { content } = this.panel;
    for (let tries = 0; tries < 50; tries += 1) {
      content.activeCellIndex = index;
      content.deselectAll();
      await jupyterapp.commands.execute("notebook:run-cell");
      if (content.widgets[index].model.executionCount !== null) return;
      await new Promise((done) => setTimeout(done, 100));
    }
  },
};
"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    root: Path


@pytest.fixture(scope="session")
def lab(
    require: Callable[[str], str], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """JupyterLab on a free port of 127.0.0.1, with settings, extensions and files in a temporary folder."""
    require("jupyterlab")
    home, root = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("notebooks")
    port, token = _free_port(), secrets.token_hex(16)
    _quiet_settings(home / "settings")
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
        "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    with (home / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=_environment(home, repository), cwd=root, stdout=log, stderr=log
        )
        try:
            _await_server(f"http://127.0.0.1:{port}/api/status?token={token}", process, home / "lab.log")
            yield Lab(f"http://127.0.0.1:{port}", token, root)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(home: Path, repository: Path) -> dict[str, str]:
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    path = os.pathsep.join(filter(None, (str(repository), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **{name: str(home / part) for name, part in folders.items()}}


def _quiet_settings(folder: Path) -> None:
    """No news, no questions, and nothing that is saved behind our back."""
    settings: dict[str, dict[str, Any]] = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "docmanager-extension/plugin": {"autosave": False},
    }
    for name, values in settings.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _await_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-3000:]}", pytrace=False)


@pytest.fixture(scope="session")
def browser(require: Callable[[str], str]) -> Iterator[Any]:
    """The system's Chromium; `make test` installs it where it may."""
    require("playwright")
    program = os.environ.get("ORCHKIT_CHROMIUM") or require("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def _new_page(browser: Any) -> tuple[Any, list[str]]:
    """An empty page, and what went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(HELPERS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return page, wrong


def _ours(wrong: list[str]) -> list[str]:
    return [text for text in wrong if "orchkit" in text.lower() or "render" in text.lower()]


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; what goes wrong in it fails the test that has it."""
    page, wrong = _new_page(browser)
    yield page
    page.context.close()
    assert _ours(wrong) == []


class Desk:
    """A page with JupyterLab, kept from test to test: loading it takes longer than most tests."""

    def __init__(self, browser: Any, lab: Lab) -> None:
        self._browser, self._lab = browser, lab
        self._page: Any = None
        self.wrong: list[str] = []

    def open(self, name: str) -> Any:
        """The page with a notebook in front, and a kernel of its own."""
        if self._page is None:
            self._page, self.wrong = _new_page(self._browser)
            self.load(name)
        else:
            opening = "jupyterapp.commands.execute('docmanager:open', { path })"
            self._page.evaluate(f"async (path) => {{ await {opening}; }}", name)
            self._await(name)
        self.wrong.clear()
        return self._page

    def load(self, name: str) -> None:
        """Load the page anew, with this notebook."""
        self._page.goto(f"{self._lab.url}/doc/tree/{name}?token={self._lab.token}")
        self._await(name)

    def _await(self, name: str) -> None:
        self._page.wait_for_function(
            "(name) => window.jupyterapp && window.orchkitTest.shows(name)", arg=name
        )

    def clear(self) -> None:
        """End the kernel and take the notebook away; when that cannot be done, the page as well."""
        from playwright.sync_api import Error

        try:
            theme = "jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })"
            self._page.evaluate(f"async () => {{ await orchkitTest.leave(); await {theme}; }}")
        except Error:
            self.close()

    def close(self) -> None:
        """Close the page."""
        if self._page is not None:
            self._page.context.close()
            self._page = None


@pytest.fixture(scope="session")
def desk(browser: Any, lab: Lab) -> Iterator[Desk]:
    """The page in which notebooks are opened."""
    desk = Desk(browser, lab)
    yield desk
    desk.close()


class Notebook:
    """A notebook open in the page."""

    def __init__(self, desk: Desk, path: Path) -> None:
        self.path, self._desk = path, desk
        self.page = desk.open(path.name)

    def reload(self) -> None:
        """Load the page anew."""
        self._desk.load(self.path.name)

    def run(self, index: int, *, wait: bool = True) -> None:
        """Run a cell; and wait for its end, unless it is to be looked at meanwhile."""
        call = f"orchkitTest.run({index})"
        self.page.evaluate(f"async () => {{ await {call}; }}" if wait else f"() => {{ void {call}; }}")

    def output(self, index: int) -> Any:
        """What stands below a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-Cell-outputArea")

    def restart(self) -> None:
        """Restart the kernel."""
        self.page.evaluate("async () => { await orchkitTest.panel.sessionContext.session.kernel.restart(); }")

    def interrupt(self) -> None:
        """Interrupt what the kernel does."""
        self.page.evaluate(
            "async () => { await orchkitTest.panel.sessionContext.session.kernel.interrupt(); }"
        )

    def save(self) -> dict[str, Any]:
        """Save it; what is in the file then."""
        self.page.evaluate("async () => { await orchkitTest.panel.context.save(); }")
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell as they are in the file."""
        found: list[dict[str, Any]] = self.save()["cells"][index]["outputs"]
        return found

    def theme(self, name: str) -> None:
        """``Light`` or ``Dark``."""
        self.page.evaluate(
            f"async () => {{ await jupyterapp.commands.execute('apputils:change-theme', "
            f"{{ theme: 'JupyterLab {name}' }}); }}"
        )
        self.page.wait_for_function(
            f"() => document.body.dataset.jpThemeLight === '{str(name == 'Light').lower()}'"
            " && !document.getElementById('jupyterlab-splash')"
        )

    def shot(self, name: str, locator: Any = None) -> None:
        """Keep a picture of the page, or of a part of it, for people to look at."""
        SHOTS.mkdir(exist_ok=True)
        (locator or self.page).screenshot(path=str(SHOTS / f"{name}.png"))

    def barriers(self, selector: str) -> list[str]:
        """What axe-core finds in a part of the page: violations that are serious or critical."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page, context=selector).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


def _document(cells: list[str]) -> dict[str, Any]:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(cells)
        ],
    }


@pytest.fixture(scope="session")
def opened(desk: Desk, lab: Lab) -> Callable[..., Any]:
    """Opens a notebook with a kernel of its own, and takes it away: a context manager of name and cells."""

    @contextmanager
    def open_notebook(name: str, *cells: str) -> Iterator[Notebook]:
        path = lab.root / f"{name}.ipynb"
        path.write_text(json.dumps(_document(list(cells))), encoding="utf-8")
        yield Notebook(desk, path)
        desk.clear()
        assert _ours(desk.wrong) == []

    return open_notebook


@pytest.fixture
def notebook(opened: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """``notebook(cell, cell, …)`` opens a notebook with these cells; one for each test."""
    with ExitStack() as stack:
        name = request.node.name.replace("[", "_").replace("]", "")
        yield lambda *cells: stack.enter_context(opened(name, *cells))
