"""Videos over HTTP: what is downloaded, and what is left of them on the disk. tests/clients has OpenAI's own client."""
import concurrent.futures
import json
import os
import time

import pytest

from support.cinema import put_cinema_into
from support.cluster import Cluster, supervisor_asleep

LARGE = "A long film."  # of 61 MiB, which no message holds
SMALL = "A short film."


@pytest.fixture(scope="module")
def cinema():
    with Cluster(start=False) as cluster:
        put_cinema_into(cluster)
        cluster.start()
        yield cluster


def made(cluster, prompt):
    """The path of a video that is made."""
    video = cluster.http("POST", "/v1/videos", {"model": "reel", "prompt": prompt}).json()
    path = f"/v1/videos/{video['id']}"
    cluster.wait(lambda: cluster.http("GET", path).json()["status"] == "completed", what="the video")
    return path


def files(cluster):
    return set((cluster.data_dir / "videos").glob("*"))


def made_large(cluster):
    """The path of a large video, and its file."""
    before = files(cluster)
    path = made(cluster, LARGE)
    [file] = files(cluster) - before
    return path, file


def by_its_path(cluster, path):
    assert cluster.http("DELETE", path).json()["deleted"] is True


def as_an_operation(cluster, path):
    operation = path.rsplit("/", 1)[1]
    assert cluster.http("DELETE", f"/api/v2/operations/{operation}").json()["data"]["id"] == operation


def on_the_command_line(cluster, path):
    cluster.cli("exec", "operation.delete", "--operation-id", path.rsplit("/", 1)[1])


@pytest.mark.parametrize("delete", [by_its_path, as_an_operation, on_the_command_line])
def test_with_a_large_video_goes_its_file_at_once_and_no_other(cinema, delete):
    path, file = made_large(cinema)
    kept_path, kept_file = made_large(cinema)
    delete(cinema, path)
    assert not file.exists()
    assert cinema.http("GET", f"{path}/content").status == 404
    assert kept_file.exists()
    by_its_path(cinema, kept_path)
    assert not kept_file.exists()


def test_a_video_is_deleted_while_inference_is_away_and_its_file_goes_later(cinema):
    path, file = made_large(cinema)
    with supervisor_asleep(cinema):
        cinema.kill("inference")
        assert cinema.http("DELETE", path).status == 200
        assert cinema.http("GET", path).status == 404
        assert file.exists()
        os.utime(file, (0, time.time() - 7 * 24 * 3600))
    cinema.wait(lambda: not file.exists(), what="the sweep of what is old")


@pytest.mark.parametrize("prompt", [SMALL, LARGE])
def test_a_video_is_downloaded_whole_or_in_part(cinema, prompt):
    content = f"{made(cinema, prompt)}/content"
    whole = cinema.http("GET", content)
    size = len(whole.body)
    assert json.loads(whole.body) == {"model": "reel", "prompt": prompt}
    assert (size > 60 << 20) == (prompt == LARGE)
    assert (whole.status, whole.headers["content-length"], whole.headers["accept-ranges"]) == (200, str(size), "bytes")
    assert "transfer-encoding" not in whole.headers
    middle = size // 2
    for asked, begin, end in [("bytes=0-9", 0, 10), (f"bytes={middle}-", middle, size), ("bytes=-7", size - 7, size)]:
        part = cinema.http("GET", content, headers={"Range": asked, "If-Range": whole.headers["etag"]})
        assert (part.status, part.headers["content-range"]) == (206, f"bytes {begin}-{end - 1}/{size}")
        assert part.body == whole.body[begin:end]
    beyond = cinema.http("GET", content, headers={"Range": f"bytes={size}-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert beyond.json()["error"]["param"] == "Range"
    head = cinema.http("HEAD", content)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")


def test_of_several_requests_with_one_key_each_learns_why_there_is_no_video(cinema):
    def create(key):
        answer = cinema.http("POST", "/v1/videos", {"model": "no-such-model", "prompt": SMALL}, headers={"Idempotency-Key": key})
        return answer.status, answer.json()["error"]["code"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, (f"key-{i // 8}" for i in range(80))))
    assert set(answers) == {(404, "model_not_found")}
