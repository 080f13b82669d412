"""A few tiny runs whose sampling can be seen, and what the page made of them holds."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import iskit

# float32, one thread: as a machine would not choose by itself
SMALL = {
    **{
        "study": "seen",
        "dataset": "digits(limit=150, imbalance=0.5, noise=0.2)",
        "model": "mlp",
        "precision": "float32",
    },
    **{"sampler": ["unif", "selective_backprop"], "budget": 0.5, "epochs": 6, "evals": 6},
}


def trained(outputs: Path, **settings: Any) -> pd.DataFrame:
    """The results of SMALL with other settings, in their order."""
    runs = [iskit.Run(one, outputs) for one in iskit.grid({**SMALL, **settings})]
    for run in runs:
        run.train()
    found = iskit.results(SMALL["study"], outputs).set_index("path", drop=False)
    return found.loc[[str(run.path) for run in runs]].reset_index(drop=True)


def embedded(page: str) -> dict[str, Any]:
    """What a page holds, with its arrays unpacked: (moments, images)."""
    [text] = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    content = json.loads(text)
    for method in content["methods"]:
        for name, kind in {"drawn": "<u4", "loss": "<f4", "prob": "<f4"}.items():
            method[name] = np.frombuffer(b64decode(method[name]), kind).reshape(-1, len(content["index"]))
    return content
