"""``python -m apps.engine ENGINE --model PATH --name NAME --port PORT ...``; ``python -m apps.engine ENGINE --help`` lists an engine's own.

The token that requests must carry comes by the environment (``BULKHEAD_ENGINE_BEARER``), because everybody on the machine can read a
command line.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys

import uvloop

from apps.engine.errors import UnfitModel
from apps.engine.http.app import EngineApp
from apps.engine.http.server import UNFIT, Listen, serve

ENGINES = {"built-in": "apps.engine.built_in.command", "onnx": "apps.engine.onnx.command"}
"""The module of each: ``arguments(parser)`` adds what it takes, ``backend(options)`` makes what computes. Imported when it is chosen, for
each has packages of its own."""


def _parser(engine: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m apps.engine {engine}", allow_abbrev=False)
    parser.add_argument("--model", required=True, help="the model's directory")
    parser.add_argument("--name", required=True, help="what requests call it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--drain-seconds", type=float, default=30.0, help="what SIGTERM lets finish")
    parser.add_argument("--max-waiting", type=int, help="requests in line; more get 503 (no bound)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. 0: drained; 2: an argument is not known; 3: model or port cannot be used; 70: the engine broke."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] not in ENGINES:
        print(f"usage: python -m apps.engine {{{','.join(ENGINES)}}} --help", file=sys.stderr)
        return UNFIT
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        engine = importlib.import_module(ENGINES[words[0]])
    except ImportError as error:
        print(f"engine: {error}. The engine's packages are missing: python deploy/engine.py installs them.", file=sys.stderr)
        return UNFIT
    parser = _parser(words[0])
    engine.arguments(parser)
    options = parser.parse_args(words[1:])
    try:
        backend = engine.backend(options)
    except UnfitModel as error:
        print(f"engine: {error}", file=sys.stderr)
        return UNFIT
    bearer = os.environ.pop("BULKHEAD_ENGINE_BEARER", "")
    app = EngineApp(backend, options.name, bearer=bearer, max_waiting=options.max_waiting)
    code: int = uvloop.run(serve(app, Listen(options.host, options.port, options.drain_seconds)))
    return code


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)  # threads of the libraries may outlast what they were asked; nothing is left to put in order
