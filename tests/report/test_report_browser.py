"""Pages in a real browser: whole, quiet, offline and usable by keyboard, at the widths of a desk and of a phone."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr

from eosmodel.report import write_comparison, write_report, write_sweep
from eosmodel.studies.sweep import evaluate

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which the dev extra installs")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH"),
    pytest.mark.usefixtures("lightly_compiled"),
]

# Names long enough to push a table out of a phone.
TUNERS = ["constant:0.1", "armijo:c=1e-4,factor=0.8,increase=1.5", "polyak:c=0.5,max=1.5", "cdat:sigma=1.9,ema=0.9"]
PAGES = ("report", "comparison", "sweep")
WIDTHS = {1280: 800, 390: 844}


def runs(tuners, theories):
    """Runs of two seeds, and theories that are off by 10 %, 20 %, …"""
    step = np.arange(100)
    loss = np.exp(-step / 30) * np.linspace(1, 2, 2 * len(tuners)).reshape(-1, 2, 1)
    dims = ("tuner", "seed", "step")
    values = {"loss": loss, "stepsize": 0.2 + 0 * loss, "sharpness": 10 - 5 * loss}
    config = {"command": "compare", "objective": "network", "tuners": tuners, "theories": theories, "steps": len(step)}
    experiment = xr.Dataset(
        {name: (dims, value) for name, value in values.items()},
        {"tuner": tuners, "seed": [0, 1], "step": step},
        {"config": json.dumps(config), "command": "eosmodel compare", "versions": json.dumps({"jax": "1.0"})},
    )
    predicted = [experiment * (1 + 0.1 * i) for i in range(1, 1 + len(theories))]
    return experiment, xr.concat(predicted, xr.IndexVariable("theory", theories)).assign_attrs(experiment.attrs)


def swept(sizes):
    """A sweep of two tuners over batch sizes, the first of them the full set; three seeds."""
    step = np.arange(0, 60, 11)
    level = np.exp(np.random.default_rng(0).standard_normal((2, len(sizes), 3)))
    dims = ("tuner", "batch_size", "seed")
    along = {name: ((*dims, "step"), level[..., None] * np.exp(-step / 30)) for name in ("loss", "sharpness")}
    final = dict.fromkeys(("final_loss", "final_sharpness"), (dims, level))
    coords = {"tuner": TUNERS[::3], "batch_size": sizes, "seed": [0, 1, 2], "step": step}
    config = json.dumps({"command": "sweep", "tuners": TUNERS[::3], "batch_sizes": sizes, "steps": 60})
    attrs = {"samples": sizes[0], "config": config}
    return xr.Dataset(along | final | {"status": (dims, np.zeros(level.shape, int))}, coords, attrs)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report, a comparison and a sweep."""
    folder = tmp_path_factory.mktemp("pages")
    one, other = runs(TUNERS, ["oscillation", "valley-frozen", "gradient-flow"]), runs(TUNERS[:2], ["oscillation"])
    sweep = swept([1000, 256, 16])
    return {
        "report": write_report(*one, folder),
        "comparison": write_comparison({"a-long-name-of-a-folder": one, "b": other}, folder / "comparison.html"),
        "sweep": write_sweep(sweep, evaluate(sweep), folder),
    }


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, pages):
    """Open a page; at the end of the test it must have logged nothing and requested nothing."""
    logged, requested, opened = [], [], []

    def open_page(name, width=1280, **options):
        page = browser.new_page(viewport={"width": width, "height": WIDTHS[width]}, **options)
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(pages[name].as_uri())
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert logged == []
    assert {url for url in requested if not url.startswith("data:")} <= {path.as_uri() for path in pages.values()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_of_the_page(visit, name, width):
    page = visit(name, width)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # What is wider than the page scrolls in a box of its own, and a table does so nowhere else.
    boxes = page.evaluate(
        "[...document.querySelectorAll('.scroll, pre, nav')].map(b => b.getBoundingClientRect().right)"
    )
    assert boxes
    assert max(boxes) <= width
    loose = "[...document.querySelectorAll('table')].filter(t => !t.closest('.scroll')).map(t => t.scrollWidth)"
    assert max(page.evaluate(loose), default=0) <= width


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_there_and_has_a_text(visit, name):
    page = visit(name)
    images = page.evaluate(
        "[...document.querySelectorAll('img, svg')].map(i => [i.naturalWidth, i.alt || i.ariaLabel])"
    )
    assert len(images) >= 2
    assert all(width > 500 and len(words) > 40 for width, words in images)
    # Everything one can act on has a name too, and every box that scrolls can be reached.
    for role in ("button", "region", "link"):
        for item in page.get_by_role(role).all():
            assert item.evaluate("e => e.ariaLabel || e.textContent || e.querySelector('img').alt")
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(b => b.tabIndex === 0 && b.ariaLabel)")


def picture(page):
    """Where the enlarged picture is: x, y, width, height."""
    box = page.locator("dialog img").bounding_box()
    return [box[name] for name in ("x", "y", "width", "height")]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_picture_is_opened_zoomed_moved_and_closed_by_keyboard(visit, width):
    page = visit("report", width)
    dialog, button = page.locator("dialog"), page.locator(".zoom").nth(1)
    assert not dialog.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    assert page.locator("dialog img").get_attribute("alt") == button.locator("img").get_attribute("alt")
    stage = page.locator(".stage").bounding_box()
    x, y, wide, high = fitted = picture(page)
    # All of it is visible, and it touches two sides of the window.
    assert wide <= stage["width"] + 0.5
    assert high <= stage["height"] + 0.5
    assert wide == pytest.approx(stage["width"], abs=0.5) or high == pytest.approx(stage["height"], abs=0.5)
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert picture(page)[2:] == pytest.approx([1.25**2 * wide, 1.25**2 * high])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("-")
    page.keyboard.press("-")
    # About the middle of the window: what was moved comes back as far as it was moved, less what was zoomed.
    assert picture(page) == pytest.approx([x + 60 / 1.25**2, y + 60 / 1.25**2, wide, high])
    page.keyboard.press("0")
    assert picture(page) == pytest.approx(fitted)
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("button => button === document.activeElement")


def test_wheel_drag_and_buttons(visit):
    page = visit("sweep")
    page.locator(".zoom").first.click()
    x, y, wide, high = picture(page)
    at = (x + 0.25 * wide, y + 0.5 * high)
    page.mouse.move(*at)
    page.mouse.wheel(0, -200)
    page.wait_for_function(
        "w => document.querySelector('dialog img').getBoundingClientRect().width > w", arg=1.2 * wide
    )
    x2, y2, wide2, high2 = picture(page)
    # What is under the pointer stays there.
    assert [(at[0] - x2) / wide2, (at[1] - y2) / high2] == pytest.approx([0.25, 0.5], abs=2e-3)
    page.mouse.down()
    page.mouse.move(at[0] + 50, at[1] - 30, steps=3)
    page.mouse.up()
    page.mouse.move(*at)
    assert picture(page) == pytest.approx([x2 + 50, y2 - 30, wide2, high2])
    page.get_by_role("button", name="Fit").click()
    assert picture(page) == pytest.approx([x, y, wide, high])
    page.get_by_role("button", name="Zoom in").click()
    assert picture(page)[2] == pytest.approx(1.25 * wide)
    page.get_by_role("button", name="Close").click()
    assert not page.locator("dialog").is_visible()


def test_two_fingers_zoom(visit):
    page = visit("report", 390, has_touch=True)
    page.locator(".zoom").first.tap()
    x, y, wide, high = picture(page)
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *xs):
        points = [{"x": at, "y": 400, "id": i} for i, at in enumerate(xs)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 150, 250)
    for apart in (60, 80, 100):
        fingers("touchMove", 200 - apart, 200 + apart)
    fingers("touchEnd")
    x2, y2, wide2, high2 = picture(page)
    # Twice as far apart: twice the size, about the point between the fingers.
    assert [wide2, high2] == pytest.approx([2 * wide, 2 * high], rel=0.02)
    assert (200 - x2) / wide2 == pytest.approx((200 - x) / wide, abs=0.01)
    assert (400 - y2) / high2 == pytest.approx((400 - y) / high, abs=0.01)
