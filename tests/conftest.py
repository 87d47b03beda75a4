"""What holds for all tests: the kernels' disk cache, and how hypothesis looks for examples."""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parent.parent


def sources_hash() -> str:
    spec = find_spec("numclip")  # which may be installed, rather than that of this tree
    assert spec is not None and spec.origin is not None
    digest = hashlib.sha256()
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# Before Numba is imported: a cache that no other state of the sources has written to.
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".cache" / "numba" / sources_hash())

# And then: loops on several threads wherever there may be such, however few calls a test makes.
from numclip import _pace  # noqa: E402

_pace.LARGE_SIZE = 0

settings.register_profile("numclip", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("numclip")
