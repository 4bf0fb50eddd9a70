#!/usr/bin/env python3
"""llama-server's command line on top of the Python package xllamacpp, which carries llama.cpp's own HTTP server.

The exit code tells what went wrong before the server was up:
  1  llama.cpp could not load the model       2  there is no such file, or it cannot be read
  3  the file is not GGUF                     4  the address is taken
  64 the command line is wrong                69 the package xllamacpp is missing or broken
"""
import argparse
import errno
import mmap
import os
import signal
import socket
import sys

LOAD_FAILED, NO_FILE, NOT_GGUF, ADDRESS_TAKEN, USAGE, NO_PACKAGE = 1, 2, 3, 4, 64, 69


def leave(code, message):
    """Ends at once: llama.cpp's threads may be in the middle of a token and must not be waited for."""
    print(f"llamacpp_server: {message}", file=sys.stderr, flush=True)
    os._exit(code)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        leave(USAGE, message)


class ShowVersion(argparse.Action):
    """Also proves that the package can be loaded."""

    def __call__(self, parser, *_):
        from importlib.metadata import version

        load_package()
        print(f"version: {version('xllamacpp')}", flush=True)
        os._exit(0)


def load_package():
    try:
        import xllamacpp
    except ImportError as error:
        leave(NO_PACKAGE, f"cannot load the package xllamacpp: {error}")
    return xllamacpp


def parse_arguments():
    cores = len(os.sched_getaffinity(0))
    parser = Parser(description="Serves one GGUF model over HTTP, as llama-server does.")
    parser.add_argument("--version", action=ShowVersion, nargs=0)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", "--ctx-size", type=int, default=4096, help="tokens, shared by all slots")
    parser.add_argument("-np", "--parallel", type=int, default=1, help="slots")
    # One core stays free: llama.cpp's threads wait for each other, so one that is kept waiting stops all of them.
    parser.add_argument("-t", "--threads", type=int, default=max(1, cores - 1))
    parser.add_argument("-a", "--alias", help="name of the model in answers; without it, the file's name")
    parser.add_argument("--embedding", "--embeddings", action="store_true")
    parser.add_argument("--reranking", "--rerank", action="store_true")
    parser.add_argument("--pooling", choices=["none", "mean", "cls", "last", "rank"])
    parser.add_argument("-ngl", "--n-gpu-layers", type=int)
    parser.add_argument("--cache-ram", type=int, default=0, help="MiB of prompt cache")
    parser.add_argument("--api-key", default=os.environ.get("LLAMA_API_KEY"), help="or LLAMA_API_KEY")
    return parser.parse_args()


def check_model(path):
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        leave(NO_FILE, f"cannot read the model {path}: {error.strerror}")
    if magic != b"GGUF":
        leave(NOT_GGUF, f"not a GGUF file: {path}")


def check_address(host, port):
    """llama.cpp would notice a taken port only after loading the model."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            taken = "is taken" if error.errno == errno.EADDRINUSE else error.strerror
            leave(ADDRESS_TAKEN, f"{host}:{port} {taken}")


def names_pooling(path):
    """True if the model's header says how its embeddings are pooled. The key comes before the tokenizer's lists."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b".pooling_type", 0, 1 << 20) >= 0


def pooling_of(arguments, kinds):
    name = arguments.pooling
    if not name and arguments.reranking:
        name = "rank"
    if not name and arguments.embedding and not names_pooling(arguments.model):
        name = "mean"
    return getattr(kinds, "LLAMA_POOLING_TYPE_" + (name or "unspecified").upper())


def parameters_of(arguments, xllamacpp):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = arguments.model
    parameters.model_alias = {arguments.alias or os.path.basename(arguments.model)}
    parameters.hostnames = [arguments.host]
    parameters.port = arguments.port
    if arguments.api_key:
        parameters.api_keys = [arguments.api_key]
    parameters.n_ctx = arguments.ctx_size
    parameters.n_parallel = arguments.parallel
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = arguments.threads
    if arguments.n_gpu_layers is not None:
        parameters.n_gpu_layers = arguments.n_gpu_layers
    parameters.cache_ram_mib = arguments.cache_ram  # llama.cpp's default may take 8 GiB
    parameters.fit_params = False  # what was asked for is what is served
    parameters.ui = False
    parameters.endpoint_metrics = parameters.endpoint_slots = True
    if arguments.embedding or arguments.reranking:
        parameters.embedding = True
        parameters.pooling_type = pooling_of(arguments, xllamacpp.llama_pooling_type)
        # Each input must fit into one physical batch.
        parameters.n_batch = parameters.n_ubatch = min(arguments.ctx_size, 8192)
    return parameters


def main():
    # Until the server is up both signals end the process by themselves; a handler would run only after the load.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = parse_arguments()
    check_model(arguments.model)
    check_address(arguments.host, arguments.port)
    xllamacpp = load_package()
    try:
        # Answers /health with 503 from the first moment on and returns when the model is loaded.
        server = xllamacpp.Server(parameters_of(arguments, xllamacpp))
    except Exception as error:  # whatever llama.cpp throws, the reason belongs in the log
        leave(LOAD_FAILED, f"cannot load the model {arguments.model}: {error}")
    print(f"llamacpp_server: serving on {server.listening_address}", file=sys.stderr, flush=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: leave(0, f"stopped by {signal.Signals(received).name}"))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
