"""Worker processes: they know the package, hear no Ctrl-C of their own, and outlive nobody."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from visual_insertion_pack.devtools import pack
from visual_insertion_pack.pipelines.evaluation.placement import distance
from visual_insertion_pack.pipelines.worker_processes import called, worker_processes

CORNERS = ((0, 0, 10, 10), (30, 40, 40, 50), (100, 100))


def test_a_function_of_the_package_gives_in_a_process_what_it_gives_here():
    with worker_processes(2) as call, ThreadPoolExecutor(2) as threads:
        numbers = list(threads.map(call, [os.getpid] * 8))
        assert os.getpid() not in numbers
        assert len(set(numbers)) <= 2
        assert call(distance, *CORNERS) == distance(*CORNERS)
        assert call(os.getenv, "OMP_NUM_THREADS") == "1"
        assert call(torch.get_num_threads) == 1
        with pytest.raises(ZeroDivisionError):
            call(divmod, 1, 0)


def test_one_worker_is_this_process():
    with worker_processes(1) as call:
        assert call is called
        assert call(os.getpid) == os.getpid()


def test_a_killed_worker_is_told_with_what_to_do():
    with worker_processes(2) as call, pytest.raises(RuntimeError, match=r"want of memory. Use fewer workers\.$"):
        call(os._exit, 9)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL and no process groups of this kind")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(number):
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(pack.ROOT / "devtools")!r})
        import pack
        pack.load_pack()
        sys.path.pop(0)
        import os, signal, time, torch
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background is born deaf to it
        from visual_insertion_pack.pipelines.worker_processes import worker_processes
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as threads, worker_processes(2) as call:
            assert call(torch.get_num_threads) == 1
            print(call(os.getpid), flush=True)
            threads.map(call, [time.sleep] * 12, [600] * 12)
            time.sleep(600)
        """
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        try:
            worker = int(parent.stdout.readline())
            if number == signal.SIGKILL:
                parent.kill()
            else:
                for _ in range(3):  # as a terminal does for somebody in a hurry: to all processes
                    os.killpg(parent.pid, number)
                    time.sleep(0.2)
            assert wait_until_gone(worker)
            assert parent.wait(60) != 0
        finally:
            parent.kill()


def wait_until_gone(process: int) -> bool:
    """Whether a process ends within a minute."""
    for _ in range(600):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
