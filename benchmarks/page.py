"""How fast the page is: opening 1,000 passes over 144 heads, and redrawing as the slider moves, in headless Chromium.

Run from the repository's root: python -m benchmarks.page. Prints medians over repeats; needs chromium on PATH.
"""

import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from headwatch.page import report
from tests.headwatch.page.conftest import FLAGS
from tests.headwatch.page.fake_run import write_run

REPEATS = 5
MOVES = 60
SLIDE = """async (moves) => {
  const drawn = [];
  const slider = document.getElementById("slider");
  for (let i = 0; i < moves; i++) {
    slider.value = Math.floor((slider.max * i) / moves);
    slider.dispatchEvent(new Event("input"));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    drawn.push(performance.getEntriesByName("headwatch:redraw").at(-1).duration);
  }
  return drawn;
}"""


def measure(page: Page, url: str) -> dict[str, float]:
    """Milliseconds from navigation to a drawn page, and of each redraw while the slider moves."""
    page.goto(url)
    opened = page.evaluate("performance.getEntriesByName('headwatch:ready')[0].startTime")
    page.wait_for_timeout(1500)
    drawn = page.evaluate(SLIDE, MOVES)
    slow = statistics.quantiles(drawn, n=20)[-1]
    return {"open_ms": opened, "redraw_ms": statistics.median(drawn), "redraw_95th_ms": slow}


def main() -> None:
    """Write a run, its report, and print what was measured as JSON."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium on PATH: install Debian's package chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        run = write_run(Path(folder) / "run", passes=1000, every=2, frames=20, per_pair=True)
        file = report([run], Path(folder) / "report.html")
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        results = []
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            results.append(measure(page, file.as_uri()))
            page.close()
        browser.close()
        medians = {
            name: round(statistics.median(result[name] for result in results), 1) for name in results[0]
        }
        size = round(file.stat().st_size / 1e6, 2)
    print(json.dumps(medians | {"file_mb": size, "cores": os.cpu_count()}, indent=1))


if __name__ == "__main__":
    main()
