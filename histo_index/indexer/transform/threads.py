"""Limit linear algebra to one thread."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit the BLAS of NumPy and SciPy to one thread, in this process.

    What is fitted then does not depend on the number of cores, down to the last digit. On a busy
    machine it is also faster: the threads of BLAS keep their cores busy while they wait for each
    other.
    """
    # Imported here: look-ups fit nothing. SciPy has its own BLAS, which is limited if loaded.
    import scipy.sparse.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
