"""Promise 13: a FAISS file never makes us allocate beyond 8 times its size, or crash.

The checksum that stands before FAISS is left out here: the mutants go to `read_candidates` itself,
in a process whose memory is limited.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from histo_index.indexer.nearest.faiss_index import make_candidates, write_candidates
from tests.promises.child import ROOT
from tests.promises.conftest import Tell, Tries

N, D = 4000, 256

_MUTATE = """
import resource, sys
from pathlib import Path
import numpy as np
from histo_index.errors import IndexFormatError
from histo_index.indexer.nearest.faiss_index import read_candidates
from histo_index.indexer.nearest.candidates import CandidateSearch
from histo_index.indexer.nearest.exact import ExactSearch

data = Path(sys.argv[1]).read_bytes()
rows, size, mutants = map(int, sys.argv[2:5])
queries = np.ones((3, size), np.float32)
random = np.random.default_rng(0)
exact = ExactSearch(np.zeros((rows, size), np.float16))

def search(data):
    index = read_candidates(Path("x"), data, rows=rows, size=size)
    return CandidateSearch(index, exact, effort=4, candidates=50).search(queries, 5)

search(data)
pages = int(Path("/proc/self/statm").read_text().split()[0])
# What is in use, and eight times the file.
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 8 * len(data),) * 2)
read = refused = 0
for number in range(mutants):
    mutant = bytearray(data)
    # Lengths and types lie before the numbers, and once more before and after those of the centres.
    heads = ((0, 120), (0, len(data)), (len(data) // 10, len(data) // 2))
    offsets = random.integers(*heads[number % 3], 1 + number % 4)
    for offset in offsets.tolist():
        mutant[offset] = random.integers(0, 256) if number % 3 else mutant[offset] ^ 1 << number % 8
    if number % 10 == 0:
        mutant = mutant[: int(random.integers(0, len(data)))]
    try:
        found = search(bytes(mutant))
        assert ((found >= -1) & (found < rows)).all()
        read += 1
    except IndexFormatError as error:
        assert "alloc" not in str(error).lower(), error
        refused += 1
print(read, refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_mutants_neither_crash_nor_allocate(tmp_path: Path, tries: Tries, tell: Tell) -> None:
    path, mutants = tmp_path / "candidates.faiss", tries(500, 3_500)
    vectors = np.random.default_rng(3).standard_normal((N, D)).astype(np.float16)
    write_candidates(path, make_candidates("PCA16,IVF16,SQ8", vectors, [vectors], size=D))
    child = subprocess.run(
        [sys.executable, "-c", _MUTATE, str(path), str(N), str(D), str(mutants)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    read, refused = map(int, child.stdout.split())
    tell(f"{mutants} mutants", f"{refused} refused, {read} answered, 0 crashes, 0 over the limit")
    assert read + refused == mutants
    assert min(read, refused) > mutants / 12
