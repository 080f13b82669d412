"""The cache of decoded images: whole or absent, and never another set's."""

import errno
import os
import resource
import subprocess
import sys

import filelock
import numpy as np
import pytest
from published_files import load, parquet

from iskit.data import cache
from iskit.errors import InputError


def arrays(value=1):
    return {"a": np.full((100, 100), value), "b": np.arange(3)}


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data[:-5] + b"\0" * 5,
    ],
)
def test_a_damaged_cache_is_made_anew(harm, tmp_path):
    cache.cached(tmp_path, {"k": 1}, arrays)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(harm(path.read_bytes()))
    again = cache.cached(tmp_path, {"k": 1}, lambda: arrays(2))
    assert (again["a"] == 2).all()
    third = cache.cached(tmp_path, {"k": 1}, lambda: arrays(3))
    assert (third["a"] == 2).all()


def test_a_whole_file_with_other_arrays_is_not_believed(tmp_path):
    cache.cached(tmp_path, {"k": 1}, arrays)
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as stored:
        changed = {**stored, "a": stored["a"] + 5}
    np.savez(path, **changed)
    assert (cache.cached(tmp_path, {"k": 1}, lambda: arrays(2))["a"] == 2).all()


def test_the_key_holds_every_option_and_the_files(tmp_path, monkeypatch):
    spec, *_ = parquet(tmp_path, monkeypatch)
    count = 0
    for options in ({}, {"size": 8}, {"limit": 9}, {"classes": (0, 1)}, {"classes": (1, 0)}):
        load(spec, tmp_path, **options)
        count += 1
        assert len(list(tmp_path.glob("cache/*.npz"))) == count
    load(spec, tmp_path, noise=0.5, imbalance=0.5, duplicates=0.5)  # leave the images as they are
    assert len(list(tmp_path.glob("cache/*.npz"))) == count
    path = tmp_path / "rows" / "test-0.parquet"
    os.utime(path, ns=(1, 1))
    load(spec, tmp_path)
    assert len(list(tmp_path.glob("cache/*.npz"))) == count + 1


def test_a_full_disk_is_a_clear_error_and_leaves_nothing_half_written(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(.*\): free space there"):
            cache.cached(tmp_path, {"k": 1}, arrays)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert (cache.cached(tmp_path, {"k": 1}, arrays)["a"] == 1).all()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(InputError, match="data cannot be written"):
        cache.cached(tmp_path / "data", {"k": 1}, arrays)


def test_what_is_kept_is_read_from_a_read_only_disk(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    cache.cached(tmp_path, {"k": 1}, arrays)
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert (cache.cached(tmp_path, {"k": 1}, lambda: arrays(2))["a"] == 1).all()
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        cache.cached(tmp_path, {"k": 2}, arrays)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        cache.cached(tmp_path, {"k": 1}, arrays)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = """
import os, sys, numpy as np
from pathlib import Path
from iskit.data.cache import cached
def savez(file, **arrays):
    file.write(b"half")
    os.kill(os.getpid(), 9)
np.savez = savez
cached(Path(sys.argv[1]), {"k": 1}, lambda: {"a": np.arange(3)})
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    cache.cached(tmp_path, {"k": 2}, arrays)
    assert len(list(tmp_path.glob(".*.tmp"))) == 1  # of another file: perhaps being written
    assert (cache.cached(tmp_path, {"k": 1}, arrays)["a"] == 1).all()
    assert not list(tmp_path.glob(".*.tmp"))


def test_of_two_processes_one_makes_the_cache_and_the_other_waits(tmp_path):
    code = """
import sys, time, numpy as np
from pathlib import Path
from iskit.data.cache import cached
folder = Path(sys.argv[1])
def make():
    (folder / f"made-{sys.argv[2]}").touch()
    time.sleep(1)
    return {"a": np.arange(1000)}
print(cached(folder, {"k": 1}, make)["a"].sum())
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in "xy"
    ]
    assert [one.communicate(timeout=60)[0].strip() for one in both] == ["499500", "499500"]
    assert len(list(tmp_path.glob("made-*"))) == 1
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_the_fingerprint_changes_with_name_size_and_time(tmp_path):
    path = tmp_path / "a"
    seen = set()
    for text, time, name in (("x", 1, "a"), ("xy", 1, "a"), ("x", 2, "a"), ("x", 1, "b")):
        path = path.rename(tmp_path / name) if path.exists() else tmp_path / name
        path.write_text(text)
        os.utime(path, ns=(time, time))
        seen.add(cache.fingerprint([path]))
    assert len(seen) == 4
