"""The reference page at /docs, in a real browser: it shows every unit, finds things, calls units, and breaks no rule of its own."""
import json
import shutil
import subprocess

import pytest

from tools import node_environment, node_packages

BROWSER = "chromium-headless-shell"

PROGRAM = """
const {chromium} = require("playwright-core");
const [address, browser, key] = process.argv.slice(1);
(async () => {
  const chrome = await chromium.launch({executablePath: browser, args: ["--no-sandbox"]});
  const page = await chrome.newPage({viewport: {width: 1280, height: 900}});
  const troubles = [], asked = [];
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") troubles.push(message.text()); });
  page.on("request", (request) => asked.push(request.url()));
  const open = async (fragment) => {
    await page.goto(address + "/docs" + fragment);
    await page.waitForSelector("h1");
  };
  const title = () => page.textContent("h1");
  try {
    await open("");
    const told = await (async () => { %s })();
    console.log(JSON.stringify({told, troubles, asked}));
  } finally {
    await chrome.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="session")
def browse(cluster):
    """Runs steps in the browser, on the page of the cluster, and returns what they return. The page must be without faults."""
    folder = node_packages("playwright")
    browser = shutil.which(BROWSER)
    assert browser, f"{BROWSER} is missing: deploy/install-packages --tests"
    key = cluster.new_key("read")

    def start(steps, faults=0):
        done = subprocess.run(["node", "-e", PROGRAM % steps, f"http://127.0.0.1:{cluster.http_port}", browser, key], cwd=folder,
                              capture_output=True, text=True, timeout=120, env=node_environment(folder))
        assert done.returncode == 0, done.stderr[-3000:]
        result = json.loads(done.stdout)
        assert len(result["troubles"]) == faults, result["troubles"]
        elsewhere = [url for url in result["asked"] if not url.startswith(f"http://127.0.0.1:{cluster.http_port}/")]
        assert elsewhere == [], "the page needs nobody but its own gateway"
        return result["told"]

    return start


def test_every_unit_has_a_page(browse, cluster):
    shown = browse("""
const links = await page.$$eval("#list a[href^='#unit/']", (all) => all.map((a) => a.getAttribute("href")));
const shown = {};
for (const link of links) {
  await page.goto(address + "/docs" + link);
  await page.waitForFunction((name) => document.querySelector("h1")?.textContent === name, link.slice(6));
  shown[link.slice(6)] = await page.$$eval("article > h2", (all) => all.map((h) => h.textContent));
}
return shown;
""")
    visible = {name for name, unit in cluster.units().items() if unit["access"] != "admin"}
    assert set(shown) == visible
    assert all("Input" in headings and "Errors" in headings for headings in shown.values())
    assert "Each message of the stream" in shown["inference.chat"]


def test_the_first_page_leads_to_the_reference(cluster):
    answer = cluster.http("GET", "/", headers={"Accept": "text/html"})
    assert (answer.status, answer.headers["location"]) == (302, "/docs")


def test_a_unit_is_called_with_an_example(browse, cluster, chat_model):
    told = browse("""
await open("#unit/model.list");
await page.click("text=Language models that are ready");
const typed = await page.inputValue(".call textarea");
await page.click(".call .primary");
await page.waitForSelector(".answer .badge.good");
return {typed, curl: await page.textContent(".curl code"), answer: await page.textContent(".answer pre")};
""")
    assert json.loads(told["typed"])["type"] == "llm"
    assert "/api/v2/query/model.list" in told["curl"] and "llm" in told["curl"]
    answer = json.loads(told["answer"])
    assert chat_model in [item["id"] for item in answer["data"]["items"]]
    # The line does the same outside of the browser.
    done = subprocess.run(["bash", "-c", told["curl"] + " -s"], capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout)["data"] == answer["data"]


def test_a_problem_is_shown_and_leads_to_its_meaning(browse):
    told = browse("""
await open("#unit/model.get");
await page.fill(".call textarea", '{"model_id": "no\\'pe"}');
await page.keyboard.press("Control+Enter");
await page.waitForSelector(".answer .badge.bad");
const problem = JSON.parse(await page.textContent(".answer pre"));
const curl = await page.textContent(".curl code");
await page.fill(".call textarea", "{oops");
await page.click(".call .primary");
await page.waitForSelector("text=Not JSON");
await page.goto(address + problem.type);
await page.waitForSelector("tr.target");
return {problem, curl, row: await page.textContent("tr.target")};
""", faults=1)  # the browser itself tells of the 404
    assert told["problem"]["error"]["code"] == "MODEL_NOT_FOUND"
    assert "no'\\''pe" in told["curl"]
    assert told["row"].startswith("MODEL_NOT_FOUND")


def test_a_stream_is_shown_as_it_comes_and_can_be_stopped(browse, cluster):
    told = browse("""
await open("#unit/event.replay");
await page.fill(".call textarea", "{}");
await page.click(".call .primary");
await page.waitForFunction(() => /"done"/.test(document.querySelector(".answer pre")?.textContent));
const replayed = await page.textContent(".answer pre");
await open("#unit/event.subscribe");
await page.fill(".call textarea", '{"after": 0}');
await page.click(".call .primary");
await page.waitForFunction(() => /"events"/.test(document.querySelector(".answer pre")?.textContent));
await page.click(".call button:text-is('Stop')");
await page.waitForSelector("text=Stopped.");
return {replayed, curl: await page.textContent(".curl code")};
""")
    assert '"events"' in told["replayed"]
    assert "curl -N" in told["curl"] and "application/x-ndjson" in told["curl"]


def test_the_keyboard_finds_a_unit(browse):
    told = browse("""
await page.keyboard.press("/");
await page.keyboard.type("memory_bytes");
const found = await page.$$eval("#list a", (all) => all.map((a) => a.getAttribute("href")));
await page.keyboard.press("ArrowDown");
await page.keyboard.press("Enter");
await page.waitForSelector(".unit");
return {found, title: await title()};
""")
    assert "#unit/resource.allocate" in told["found"] and "#unit/device.info" not in told["found"]
    assert told["title"] == told["found"][0].removeprefix("#unit/")


def test_with_a_key_it_shows_what_the_key_allows(browse):
    told = browse("""
const units = () => page.$$eval("#list a[href^='#unit/']", (all) => all.map((a) => a.getAttribute("href").slice(6)));
const before = await units();
await page.click("#key");
await page.fill("#key-text", key);
await page.click("text=Use it");
await page.waitForSelector("text=Key: read");
const after = await units();
await open("#unit/model.list");
await page.click(".call .primary");
await page.waitForSelector(".answer .badge.good");
const curl = await page.textContent(".curl code");
await page.click("#key");
await page.fill("#key-text", "aima_wrong_key");
await page.click("text=Use it");
await page.waitForSelector("text=A key is needed");
return {before, after, curl, address: page.url(), secret: key};
""", faults=1)  # the browser itself tells of the 401
    assert "inference.chat" in told["before"]
    assert "inference.chat" not in told["after"] and "model.list" in told["after"]
    assert "$AIMA_KEY" in told["curl"]
    assert told["secret"] not in told["curl"] + told["address"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_small_screens_in_both_colours(browse, scheme):
    told = browse("""
await page.emulateMedia({colorScheme: "%s"});
await page.setViewportSize({width: 360, height: 700});
const wide = [];
for (const fragment of ["", "#unit/inference.chat", "#errors", "#resources", "#events"]) {
  await open(fragment);
  if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) wide.push(fragment);
}
const hidden = !(await page.isVisible("#list"));
await page.click("#menu");
await page.click("#list a[href='#unit/device.info']");
await page.waitForSelector(".unit");
// Relative luminance of text and ground, as WCAG has it.
const contrast = await page.evaluate(() => {
  const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255).map((c) => c <= 0.04 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return [document.body, ...document.querySelectorAll(".type, .badge, .field a, summary")].map((node) => {
    const ink = light(getComputedStyle(node).color);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  });
});
return {wide, hidden, title: await title(), contrast: Math.min(...contrast)};
""" % scheme)
    assert told["wide"] == []
    assert told["hidden"] and told["title"] == "device.info"
    assert told["contrast"] >= 4.5


def test_its_files_say_what_a_browser_may_do(cluster):
    page = cluster.http("GET", "/docs")
    rules = page.headers["content-security-policy"]
    assert "default-src 'none'" in rules and "unsafe" not in rules and "script-src 'self';" in rules
    assert "frame-ancestors 'none'" in rules
    assert page.headers["x-content-type-options"] == "nosniff"
    text = page.body.decode()
    assert "<script type=\"module\" src=" in text and "onclick" not in text and "style=" not in text
    assert cluster.http("GET", "/docs", headers={"If-None-Match": page.headers["etag"]}).status == 304
    assert cluster.http("GET", "/docs/../keys/admin.key").status == 404
    assert cluster.http("GET", "/docs/%2e%2e/units.binpb").status == 404
