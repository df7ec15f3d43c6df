"""The web UI in a real browser: Debian's chromium finds the course, the fraction's metadata and the report."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetMaterialization, DagsterInstance, MarkdownMetadataValue, MetadataValue
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.ui import WebDriverWait

from pipelines.instance import add_course_partition, dagster_instance
from pipelines.report import render_fraction
from pipelines.serve import report_url
from pipelines.thumbnails import axial_hu

from .report_example import example_report
from .report_images import example_images
from .test_intake import register

pytestmark = pytest.mark.service
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1100",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, *, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium and driver, "chromium and chromium-driver are missing: tools/services.sh installs them"
    options = Options()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def ui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """``igrt ui`` with a course whose first fraction has been materialised, started from a folder that shadows us."""
    port, report_port = free_port(), free_port()
    monkeypatch.setenv("IGRT_REPORT_URL", f"http://127.0.0.1:{report_port}")
    course = register(tmp_path)
    fraction = course.fraction("fx01")
    files = render_fraction(example_report(course="tiny1"), example_images(), fraction.report)
    with dagster_instance() as instance:
        add_course_partition(instance, "tiny1")
        materialise(instance, report_url("tiny1", "fx01", files.html.name))
    foreign = tmp_path / "elsewhere"
    (foreign / "pipelines").mkdir(parents=True)
    (foreign / "pipelines" / "__init__.py").write_text("raise RuntimeError('a foreign package')\n")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("igrt")), "ui", "--port", str(port), "--report-port", str(report_port)],
        cwd=foreign,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "ui.log").open("w"),
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info")
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{report_port}"
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    assert code == 0, (tmp_path / "ui.log").read_text()[-2000:]
    for number in (port, report_port):  # everything that was started has ended
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", number)) != 0


def materialise(instance: DagsterInstance, link: str) -> None:
    """Events as the chain leaves them, without computing anything."""
    instance.report_runless_asset_event(
        AssetMaterialization(
            "couch_shift", partition="tiny1|fx01", metadata={"shift vertical mm": -3.25, "shift lateral mm": -9.75}
        )
    )
    instance.report_runless_asset_event(
        AssetMaterialization("rigid_match", partition="tiny1|fx01", metadata={"match": picture()})
    )
    instance.report_runless_asset_event(
        AssetMaterialization(
            "fraction_report", partition="tiny1|fx01", metadata={"report": MetadataValue.url(link), "decision": "shift"}
        )
    )


def picture() -> MarkdownMetadataValue:
    """As the chain makes them."""
    images = example_images()
    return axial_hu(images.day_hu, (0.0, 0.0, 0.0))


def text_on(browser: webdriver.Chrome, text: str, *, seconds: float = 60.0) -> None:
    WebDriverWait(browser, seconds).until(until.text_to_be_present_in_element((By.TAG_NAME, "body"), text))


def test_course_metadata_and_report_in_a_browser(browser: webdriver.Chrome, ui: tuple[str, str]) -> None:
    web, reports = ui
    # the course is among the partitions of the fraction's asset, and its metadata show
    browser.get(f"{web}/assets/couch_shift?view=partitions&partition=tiny1%7Cfx01")
    text_on(browser, "tiny1")
    browser.get(f"{web}/assets/couch_shift?view=events&partition=tiny1%7Cfx01")
    text_on(browser, "shift vertical mm")
    text_on(browser, "-3.25")
    # a figure shows inline
    browser.get(f"{web}/assets/rigid_match?view=events&partition=tiny1%7Cfx01")
    show = (By.XPATH, "//*[contains(text(), 'Show Markdown')]")
    WebDriverWait(browser, 60).until(until.element_to_be_clickable(show)).click()
    image = WebDriverWait(browser, 30).until(
        until.presence_of_element_located((By.CSS_SELECTOR, "img[src^='data:image/png;base64,']"))
    )
    WebDriverWait(browser, 10).until(lambda b: b.execute_script("return arguments[0].naturalWidth", image) >= 200)
    # the link of the report is clicked, and the report says what it is
    browser.get(f"{web}/assets/fraction_report?view=events&partition=tiny1%7Cfx01")
    selector = (By.CSS_SELECTOR, f"a[href^='{reports}/reports/tiny1/fx01/']")
    link = WebDriverWait(browser, 60).until(until.element_to_be_clickable(selector))
    windows = set(browser.window_handles)
    link.click()
    WebDriverWait(browser, 30).until(lambda b: set(b.window_handles) - windows or b.current_url.startswith(reports))
    if opened := set(browser.window_handles) - windows:
        browser.switch_to.window(opened.pop())
    heading = WebDriverWait(browser, 30).until(until.presence_of_element_located((By.TAG_NAME, "h1")))
    assert heading.text.strip()
    assert "tiny1" in browser.find_element(By.TAG_NAME, "body").text
