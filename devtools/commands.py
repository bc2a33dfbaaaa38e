"""The commands of dev.py. Each sets up what it needs, then runs it there; its docstring is what `--help` says of it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from dataclasses import replace
from itertools import takewhile

from .environment import DEV, ROOT, Environment, SetupError, fetched, find_release, prepare, say
from .host import Host, HostError, has_gpu

LAUNCHER = ROOT / "devtools" / "pack.py"
EXTRAS = ("train", "data", "ray", "evaluation", "dev")  # of pyproject.toml


def demo(arguments: list[str]) -> int:
    """put an object into a scene in the real ComfyUI; the pictures go to output/demo"""
    return run(prepare(), str(LAUNCHER), "devtools.demo", *arguments)


def test(arguments: list[str]) -> int:
    """the test suite; --host VERSION: those of the nodes in another ComfyUI; arguments go to pytest"""
    parser = argparse.ArgumentParser("dev.py test", add_help=False, allow_abbrev=False)
    parser.add_argument("--host")
    options, arguments = parser.parse_known_args(arguments)
    host = find_release(options.host) if options.host else None
    started = time.monotonic()
    environment = prepare(*EXTRAS)
    if host:
        environment = replace(environment, host=fetched(host, environment.python))  # the packages are the newest's
        arguments = arguments if has_paths(arguments) else [*arguments, "tests/nodes"]
    code = run(environment, "-m", "pytest", *arguments, OMP_NUM_THREADS="1")
    say(f"tests took {time.monotonic() - started:.0f} s, set-up included")
    return code


def has_paths(arguments: list[str]) -> bool:
    """Whether pytest is told which tests to run."""
    return any((ROOT / argument.split("::")[0]).exists() for argument in arguments)


def serve(arguments: list[str]) -> int:
    """ComfyUI with this checkout as a custom node, until Ctrl-C"""
    parser = argparse.ArgumentParser("dev.py serve", description=serve.__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    options = parser.parse_args(arguments)
    environment = prepare()
    base = DEV / "serve"  # what was drawn and made there is there the next time
    host = Host(
        environment.host,
        python=environment.python,
        base=base,
        models=environment.host / "models",
        port=options.port,
        cpu=options.cpu or not has_gpu(),
        show_log=True,
    )
    with host:
        say(f"ComfyUI is at {host.url} - Ctrl-C ends it")
        return host.process.wait()


ALL = "--all"  # of the benchmarks: hours, and it writes many of docs/figures anew


def bench(arguments: list[str]) -> int:
    """the benchmarks named first, or --all; the options after them go to each, and without a name they are listed"""
    names = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    options = arguments[len(names) :]
    every = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
    all_of_them = not names and ALL in options
    if not names and not all_of_them:
        print(f"python dev.py bench NAME ... | {ALL} [options]: {bench.__doc__}")
        print(", ".join(name.removeprefix("bench_") for name in every))
        return 0
    options = [option for option in options if option != ALL or not all_of_them]
    benchmarks = every if all_of_them else [f"bench_{name.removeprefix('bench_')}" for name in names]
    unknown = sorted(set(benchmarks) - set(every))
    if unknown:
        raise SetupError(f"no benchmark {', '.join(unknown)}; there are: {', '.join(every)}")
    environment = prepare(*EXTRAS)
    return max(run(environment, str(LAUNCHER), f"benchmarks.{name}", *options) for name in benchmarks)


def train_playroom(arguments: list[str]) -> int:
    """train the small models that ship with the pack; resumes where it stopped"""
    environment = prepare("train")
    return run(environment, str(LAUNCHER), "pipelines.playroom.visual_insertion.recipe", *arguments)


def lint(arguments: list[str]) -> int:
    """ruff and pyright, as the checks before a merge run them"""
    environment = prepare(*EXTRAS)
    checks = (
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("pyright", "--pythonpath", str(environment.python)),
    )
    return max(run(environment, "-m", *check) for check in checks)


COMMANDS = {
    "demo": demo,
    "test": test,
    "serve": serve,
    "bench": bench,
    "train-playroom": train_playroom,
    "lint": lint,
}


def run(environment: Environment, *arguments: str, **variables: str) -> int:
    """Run the environment's Python, which finds the host through COMFYUI_PATH."""
    inherited = {**os.environ, "COMFYUI_PATH": str(environment.host), **variables}
    process = subprocess.Popen([environment.python, *arguments], cwd=ROOT, env=inherited)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # Ctrl-C reaches it by itself
    return process.wait()


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name not in COMMANDS:
        print("usage: python dev.py COMMAND [options]; COMMAND --help tells more\n")
        for command, function in COMMANDS.items():
            print(f"  {command:16}{function.__doc__}")
        return 0 if name in ("-h", "--help") else 2
    try:
        return COMMANDS[name](rest)
    except (SetupError, HostError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 130
