"""How smoothly "see the sampling" plays: python tests/frames.py; JSON on the last line.

Four methods on digits, 240 images each, 40 moments, in the system's Chromium without a GPU, as a page from disk.
frame: milliseconds from one frame to the next while it plays, over 100 of them; work: of these in the page's own code.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from browsing import chromium
from sampled import trained

from iskit.views import sampling

COUNT = 100
MEASURE = """async (count) => {
  const root = document.querySelector(".iskit-sampling").shadowRoot, work = [], frame = [];
  const ask = window.requestAnimationFrame;
  window.requestAnimationFrame = (then) => ask((time) => {
    const begun = performance.now();
    then(time);
    work.push(performance.now() - begun);
  });
  root.querySelector(".play").click();
  let last = await new Promise(ask);
  while (frame.length < count) {
    const time = await new Promise(ask);
    frame.push(time - last);
    last = time;
  }
  return { frame, work };
}"""


def about(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": round(ordered[len(ordered) // 2], 1), "95 %": round(ordered[int(0.95 * len(ordered))], 1)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"dataset": "digits(limit=500, noise=0.2)", "epochs": 40, "evals": 40, "budget": 0.3}
        frame = trained(Path(folder), sampler=["scan", "unif", "p", "selective_backprop"], **settings)
        file = Path(folder) / "page.html"
        file.write_text(f"<!doctype html><meta charset=utf-8>{sampling.see(frame).data}", encoding="utf-8")
        found: dict[str, object] = {"frames": COUNT, "load": round(os.getloadavg()[0], 1)}
        for width in (390, 1280, 1920):
            with chromium(width, 1000) as page:
                page.goto(file.as_uri())
                page.wait_for_selector(".iskit-sampling .methods canvas")
                measured = page.evaluate(MEASURE, COUNT)
            found[f"{width} px"] = {name: about(values) for name, values in measured.items()}
    sys.stdout.write(json.dumps({"milliseconds": found}) + "\n")


if __name__ == "__main__":
    main()
