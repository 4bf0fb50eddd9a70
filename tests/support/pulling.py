"""What tests of pulls have in common."""
import contextlib
import pathlib

MIB = 1 << 20


def sets_for(hub, registry=None, **more):
    sets = {"model.huggingface_url": hub.url, "model.modelscope_url": hub.url, "model.mirror_hosts": "127.0.0.1",
            "model.stall_timeout": "1s"}
    if registry:
        sets["model.ollama_url"] = registry.url
    return {**sets, **{"model." + key: value for key, value in more.items()}}


def pull(cluster, repo, source="huggingface", timeout=60, **more):
    return cluster.execute("model.pull", {"source": source, "repo": repo, **more}, timeout=timeout)


@contextlib.contextmanager
def through(hub, line):
    """Large files come over this line."""
    hub.cdn = line.address
    hub.restart()
    try:
        yield
    finally:
        hub.cdn = f"127.0.0.1:{hub.cdn_port}"
        hub.restart()


def files_of(cluster, model_id):
    model = cluster.execute("model.get", {"model_id": model_id})
    return {file["path"].rsplit("/", 1)[-1]: pathlib.Path(file["path"]) for file in model["files"]}


def blobs(cluster):
    return {path.name for path in (cluster.data_dir / "models" / "blobs").glob("*") if path.name != ".lock"}


def slow(number, sent):
    """About three megabytes per second and connection."""
    return 0.02
