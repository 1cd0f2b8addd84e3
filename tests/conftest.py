"""Four fake devices, so that one suite on one CPU covers sharding; and a compilation cache that outlives the process."""

import os
from pathlib import Path

import jax
import pytest

# Compiling is what these tests spend their time on: toy programs gain nothing from optimization.
FAST_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
FAST_COMPILE += " --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):  # compiles in a third of the time; later versions abort at it
    FAST_COMPILE += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_COMPILE}"

CACHE = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", Path(__file__).resolve().parent.parent / ".cache" / "jax"))

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)  # for the scripts that tests start
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file stay in one worker, where they share what they compile; so do those that run over the table."""
    for item in items:
        over_the_table = item.path.stem in ("test_contract", "test_golden")
        item.add_marker(pytest.mark.xdist_group("table" if over_the_table else item.path.stem))
