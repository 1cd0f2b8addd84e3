"""Flip one random bit of one random byte anywhere in a checkpoint's files, 100 times: is each flip noticed?

    python -m benchmarks.flips

Half of the flips choose a file first, so that small files (metadata, manifest) are hit as often as large ones. After every
flip the run is also reopened: it must come back from the checkpoint before.
"""

import contextlib
import io
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.record import ROOT, record, row
from genjax.checkpoint import damage, manifest, steps
from genjax.config import use_compilation_cache
from genjax.trained import reopen

FLIPS = 100


def places(files: list[Path], rng: random.Random) -> list[tuple[Path, int]]:
    """FLIPS places: even ones by file, odd ones by byte."""
    sizes = [file.stat().st_size for file in files]
    chosen = [rng.choice(files) if k % 2 else rng.choices(files, sizes)[0] for k in range(FLIPS)]
    return [(file, rng.randrange(file.stat().st_size)) for file in chosen]


def flipped(file: Path, place: int, bit: int, look) -> bool:
    """What `look` says while one bit is wrong."""
    whole = file.read_bytes()
    file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    try:
        return look()
    finally:
        file.write_bytes(whole)


def main() -> None:
    use_compilation_cache()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        subprocess.run([sys.executable, "train.py", "--steps", "200", "--run", str(run)], cwd=ROOT, check=True)
        folder = run / "checkpoints"
        newest, before, *_ = steps(folder)
        files = [path for path in [*folder.joinpath(str(newest)).rglob("*"), manifest(folder, newest)] if path.is_file()]
        files = [path for path in sorted(files) if path.stat().st_size]
        noticed = [float(flipped(*at, rng.randrange(8), lambda: bool(damage(folder, newest)))) for at in places(files, rng)]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            back = [flipped(*at, rng.randrange(8), lambda: reopen(run).step == before) for at in places(files, rng)[:10]]
        assert said.getvalue().count("trying the one before") == len(back)
        assert not damage(folder, newest)
    print(f"{sum(noticed):.0f} of {FLIPS} noticed in {len(files)} files; {sum(back)} of {len(back)} fell back")
    record("flips", "Damage to a checkpoint", "python -m benchmarks.flips", [
        row("vae_digits", "single-bit flips noticed", noticed, seeds=list(range(FLIPS)), unit="share", bar="100 of 100",
            met=all(noticed), note=f"anywhere in the {len(files)} files of a checkpoint: data, metadata, manifest"),
        row("vae_digits", "damaged newest checkpoint: the one before is used", [float(b) for b in back],
            seeds=list(range(len(back))), unit="share", bar="all", met=all(back)),
    ])


if __name__ == "__main__":
    main()
