"""Videos through OpenAI's official client for Node, from a stand-in for an engine (support/video_engine): the ones that are
real need a GPU."""
import json
import os
import time

import pytest

from node_clients import clients_folder, run_program
from support.cinema import put_cinema_into
from support.cluster import Cluster

PROLOGUE = """
import OpenAI, { toFile } from "openai";
const client = new OpenAI({ baseURL: settings.url, apiKey: settings.key, maxRetries: 0 });
const model = settings.model;
const ended = async (video) => {
  const seen = [[video.status, video.progress]];
  while (video.status === "queued" || video.status === "in_progress") {
    await new Promise((resolve) => setTimeout(resolve, 20));
    video = await client.videos.retrieve(video.id);
    seen.push([video.status, video.progress]);
  }
  return [video, seen];
};
const failure = async (call) => {
  try {
    return { class: "none: it did not fail", value: await call() };
  } catch (error) {
    return { class: error.constructor.name, status: error.status, message: error.message, code: error.code, param: error.param };
  }
};
"""


@pytest.fixture(scope="module")
def cinema():
    """A cluster whose model `reel` makes videos."""
    with Cluster(start=False) as cluster:
        put_cinema_into(cluster)
        old = cluster.data_dir / "videos" / "video_of_last_week.mp4"
        old.parent.mkdir()
        old.write_bytes(b"old")
        os.utime(old, (0, time.time() - 7 * 24 * 3600))
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def program(cinema):
    return runner(cinema)


def runner(cluster, **more):
    settings = {"url": f"http://localhost:{cluster.http_port}/v1", "model": "reel", "key": cluster.new_key("operate"), **more}
    return lambda text: run_program(clients_folder(), "videos", PROLOGUE + text, settings)


def test_a_video_is_made_followed_and_downloaded(program):
    first, last, seen, content, bytes_of = program("""
const first = await client.videos.create({ model, prompt: "Waves on a beach.", seconds: "4", size: "1280x720" });
const [last, seen] = await ended(first);
const content = await client.videos.downloadContent(last.id);
tell([first, last, seen, content.headers.get("content-type"), await content.text()]);
""")
    assert (first["object"], first["model"], first["seconds"], first["size"]) == ("video", "reel", "4", "1280x720")
    assert (last["id"], last["status"], last["progress"], last["error"]) == (first["id"], "completed", 100, None)
    assert first["created_at"] <= last["completed_at"] < last["expires_at"]
    assert ["in_progress", 50] in seen, seen
    assert content == "video/mp4"
    assert json.loads(bytes_of) == {"model": "reel", "prompt": "Waves on a beach.", "seconds": "4", "size": "1280x720"}


def test_the_files_of_last_week_are_gone_after_a_start(cinema):
    assert list((cinema.data_dir / "videos").iterdir()) == []


def test_a_video_that_no_message_holds_is_downloaded_from_its_file(cinema):
    size, asked = runner(cinema)("""
const [video] = await ended(await client.videos.create({ model, prompt: "A long film." }));
const bytes = Buffer.from(await (await client.videos.downloadContent(video.id)).arrayBuffer());
tell([bytes.length, JSON.parse(bytes.toString())]);
""")
    assert size > 61 << 20
    assert asked == {"model": "reel", "prompt": "A long film."}
    [file] = (cinema.data_dir / "videos").iterdir()
    assert file.stat().st_size == size


def test_a_picture_to_begin_from_arrives_as_a_file(program):
    arrived = program("""
const picture = await toFile(Buffer.from("89504e470d0a1a0a00", "hex"), "beach.png", { type: "image/png" });
const url = "data:image/png;base64,iVBORw0KGgoA";
const arrived = [];
for (const input_reference of [picture, { image_url: url }]) {
  const [video] = await ended(await client.videos.create({ model, prompt: "Waves.", seconds: "4", input_reference }));
  arrived.push(await (await client.videos.downloadContent(video.id)).json());
}
tell(arrived);
""")
    for asked in arrived:
        assert asked == {"model": "reel", "prompt": "Waves.", "seconds": "4", "input_reference": ["reference.png", "image/png", 9]}


def test_what_fails_is_a_video_that_says_why(program):
    video = program("""tell((await ended(await client.videos.create({ model, prompt: "Please fail." })))[0])""")
    assert (video["status"], video["error"]["code"]) == ("failed", "inference_engine_failed")
    assert "CUDA out of memory" in video["error"]["message"]


def test_videos_are_listed_page_by_page_and_deleted(cinema):
    made, newest, oldest, deleted, left, gone = runner(cinema)("""
const made = [];
for (const prompt of ["one", "two", "three"]) made.push((await ended(await client.videos.create({ model, prompt })))[0].id);
const newest = [], oldest = [];
for await (const video of client.videos.list({ limit: 2 })) newest.push([video.id, video.prompt]);
for await (const video of client.videos.list({ limit: 1, order: "asc" })) oldest.push(video.id);
const deleted = await client.videos.delete(made[1]);
const left = [];
for await (const video of client.videos.list()) left.push(video.id);
tell([made, newest, oldest, deleted, left, await failure(() => client.videos.retrieve(made[1]))]);
""")
    assert newest == [[made[2], "three"], [made[1], "two"], [made[0], "one"]]
    assert oldest == made
    assert deleted == {"id": made[1], "object": "video.deleted", "deleted": True}
    assert left == [made[2], made[0]]
    assert (gone["class"], gone["status"]) == ("NotFoundError", 404)


def test_a_video_that_is_deleted_while_it_is_made_leaves_the_engine_free(cinema, program):
    early, deleted = program("""
const video = await client.videos.create({ model, prompt: "Please wait." });
const early = await failure(() => client.videos.downloadContent(video.id));
tell([early, await client.videos.delete(video.id)]);
""")
    assert (early["class"], deleted["deleted"]) == ("NotFoundError", True)
    cinema.wait(lambda: not any(model["in_flight"] for model in cinema.execute("inference.models")["models"]),
                what="an engine that is free")


def test_a_video_is_an_operation(cinema):
    key = cinema.new_key("operate")
    video = runner(cinema, key=key)("""tell(await client.videos.create({ model, prompt: "Please wait." }))""")
    operation = cinema.http("GET", f"/api/v2/operations/{video['id']}", key=key).json()["data"]
    assert (operation["unit"], operation["status"]) == ("inference.generate_video", "running")
    ended = cinema.http("POST", f"/api/v2/operations/{video['id']}/cancel", key=key).json()["data"]
    assert ended["status"] == "cancelled"
    assert cinema.http("GET", f"/v1/videos/{video['id']}", key=key).json()["status"] == "failed"


@pytest.mark.parametrize("wrong,named", [("seconds: 'long'", "seconds"), ("seconds: '100000'", "seconds"), ("size: 'large'", "size"),
                                         ("prompt: ''", "prompt"), ("typo: 1", "typo"),
                                         ("input_reference: { image_url: 'http://localhost/a.png' }", "input_reference.image_url")])
def test_what_cannot_be_asked_is_its_bad_request_error(program, wrong, named):
    failed = program(f"tell(await failure(() => client.videos.create({{ model, prompt: 'Waves.', {wrong} }})))")
    assert (failed["class"], failed["param"]) == ("BadRequestError", named), failed


def test_an_unknown_model_is_its_not_found_error(program):
    failed = program("tell(await failure(() => client.videos.create({ model: 'no-such-model', prompt: 'Waves.' })))")
    assert (failed["class"], failed["code"]) == ("NotFoundError", "model_not_found"), failed


def test_a_key_of_too_low_a_role_is_its_permission_denied_error(cinema):
    failed = runner(cinema, key=cinema.new_key("read"))("tell(await failure(() => client.videos.create({ model, prompt: 'Waves.' })))")
    assert failed["class"] == "PermissionDeniedError"


def test_where_nothing_makes_videos_the_error_names_what_to_install(cluster):
    failed, listed = runner(cluster, model="sora-2")("""
const failed = await failure(() => client.videos.create({ model, prompt: "Waves." }));
tell([failed, (await client.videos.list()).data]);
""")
    assert (failed["status"], failed["code"]) == (409, "inference_no_engine"), failed
    assert "SGLang Diffusion" in failed["message"]
    assert listed == []
