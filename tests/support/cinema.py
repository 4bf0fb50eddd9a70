"""The engine `cinema`, whose model `reel` makes videos: a stand-in (video_engine), as the real ones need a GPU."""
import pathlib

ENGINE = pathlib.Path(__file__).resolve().parent / "video_engine"


def put_cinema_into(cluster):
    (cluster.data_dir / "engines.d").mkdir()
    (cluster.data_dir / "engines.d" / "cinema.yaml").write_text(
        "name: cinema\ntype: cinema\ndescription: Makes videos.\ndialect: openai\nmodel_types: [video]\nown_models: true\n"
        f"models: [{{name: reel, type: video}}]\ninstall: {{detect: [{ENGINE}]}}\nlaunch: {{args: ['{{port}}']}}\nmemory: 1MB\n"
        "health: {path: /health}\n")
