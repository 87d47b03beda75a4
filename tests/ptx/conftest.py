"""What runs where CUDA's compiler is: in the environment that `make ptx` makes."""

import os

if os.environ.get("NUMCLIP_TEST_PTX") != "1":
    collect_ignore_glob = ["test_*.py"]
