"""What builds, tests and uploads the package: the workflows of a forge keep some rules, and fit the project."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
READ_ONLY = {"contents": "read"}
UPLOADS = {"id-token": "write"}


def broken(text):
    """The rules that a workflow breaks."""
    workflow = yaml.safe_load(text)
    if workflow.get("permissions") != READ_ONLY:
        yield "a token that may do more than read"
    if "pull_request_target" in str(workflow[True]):  # YAML 1.1 reads the key `on` as true
        yield "strangers' code with the repository's rights"
    if re.search(r"\bsecrets\b", text):
        yield "a secret"
    for job in workflow["jobs"].values():
        yield from broken_by(job)
    for line in re.findall(r"^.*\buses:.*$", text, re.MULTILINE):
        if not re.search(r"  # v\d+\.\d+\.\d+$", line):
            yield "a hash without its tag"


def broken_by(job):
    steps = job["steps"]
    permissions = job.get("permissions", {})
    if permissions and (permissions != UPLOADS or "environment" not in job):
        yield "a permission that only an upload needs, and somebody approves"
    if permissions and any("run" in step or "checkout" in step["uses"] for step in steps):
        yield "a job that can upload runs code of the repository"
    if "timeout-minutes" not in job:
        yield "no limit of time"
    for step in steps:
        if "uses" in step and not PINNED.fullmatch(step["uses"]):
            yield "an action that can change"
        if "checkout" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
            yield "a token left on disk"
        if "${{" in step.get("run", ""):
            yield "text that somebody else wrote, as part of a command"


@pytest.mark.parametrize("name", TEXTS)
def test_a_workflow_breaks_no_rule(name):
    assert list(broken(TEXTS[name])) == []


STEP = "      - uses: actions/setup-python@"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("contents: read", "contents: write", "a token that may do more than read"),
        ("  pull_request:", "  pull_request_target:", "strangers' code with the repository's rights"),
        ("run: .ci/run", "run: echo ${{ secrets.TOKEN }}", "a secret"),
        ("run: .ci/run", "run: echo ${{ github.head_ref }}", "text that somebody else wrote, as part of a command"),
        (f"{STEP}a309ff8b426b58ec0e2a45f0f869d46889d02405", f"{STEP}v6", "an action that can change"),
        ("  # v6.2.0", "", "a hash without its tag"),
        ("persist-credentials: false", "fetch-depth: 1", "a token left on disk"),
        ("    timeout-minutes: 60\n", "", "no limit of time"),
        ("  docs:\n", "  docs:\n    permissions: {id-token: write}\n",
         "a permission that only an upload needs, and somebody approves"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_noticed(old, new, rule):
    text = TEXTS["test.yml"]
    assert old in text
    assert rule in broken(text.replace(old, new))


def test_an_upload_that_runs_code_is_noticed():
    text = TEXTS["wheels.yml"].replace("    environment: release\n", "")
    assert "a permission that only an upload needs, and somebody approves" in broken(text)
    text = TEXTS["wheels.yml"].replace("          print-hash: true\n", "      - run: make\n")
    assert "a job that can upload runs code of the repository" in broken(text)


def test_a_hash_has_one_tag_and_an_action_one_hash():
    pairs = set(re.findall(r"uses: ([\w./-]+)@(\w+)  # (v[\d.]+)$", "\n".join(TEXTS.values()), re.MULTILINE))
    assert len(pairs) > 3
    assert len({action for action, _, _ in pairs}) == len({hashed for _, hashed, _ in pairs}) == len(pairs)


def job(name, key):
    return yaml.safe_load(TEXTS[name])["jobs"][key]


PYTHONS = job("test.yml", "test")["strategy"]["matrix"]["python"]


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_uploads_are_tested_and_counted():
    wheels, check = job("wheels.yml", "wheels"), job("wheels.yml", "check")
    assert (wheels["needs"], set(check["needs"])) == ("sdist", {"sdist", "wheels"})
    assert job("wheels.yml", "publish")["needs"] == "check"
    pythons = PROJECT["tool"]["cibuildwheel"]["build"].split()
    number = len(wheels["strategy"]["matrix"]["os"]) * len(pythons)
    assert f"python .ci/check_package.py dist --wheels {number}" in commands(check)


def test_wheels_are_for_the_pythons_that_are_tested():
    settings = PROJECT["tool"]["cibuildwheel"]
    assert settings["build"].split() == [f"cp{version.replace('.', '')}-*" for version in PYTHONS]
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    used = re.findall(r"\{project\}/(\S+)", settings["test-command"])
    assert used and all((ROOT / path).exists() for path in used)
    assert "\n" not in settings["test-command"]


def test_free_threading_is_not_declared_without_wheels_and_tests_for_it():
    core = ROOT / "src" / "fastml" / "_core"
    declared = [path.name for path in (ROOT / "setup.py", *core.glob("*.p*")) if "freethreading" in path.read_text()]
    assert bool(declared) == bool(re.search(r"cp\d+t", PROJECT["tool"]["cibuildwheel"]["build"]))


def test_commands_of_the_workflows_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    jobs = [job for text in TEXTS.values() for job in yaml.safe_load(text)["jobs"].values()]
    run = "\n".join(command for job in jobs for command in commands(job))
    assert {"test", "docs", "package"} <= set(re.findall(r"\bmake (?:-C \S+ )?(\w+)", run)) <= targets
    assert set(re.findall(r"\.ci/\S+", run)) == {".ci/run", ".ci/check_package.py", ".ci/constraints.txt"}


def test_each_week_runs_all_that_make_trust_runs():
    pattern = r"^trust: \.venv/trust ([a-z ]+) ##.*\n((?:\t.*\n)+)"
    ((words, recipe),) = re.findall(pattern, (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert job("trust.yml", "word")["strategy"]["matrix"]["word"] == words.split()
    assert 'make "$WORD" MINUTES=60' in commands(job("trust.yml", "word"))
    after = recipe.replace("$(BIN)", ".venv/bin").replace(" --write docs/reliability.md", "").split("\n\t")
    last = [job("trust.yml", name) for name in ("slow", "report")]
    assert [commands(each)[-1] for each in last] == [line.strip() for line in after]
    assert all("make build .venv/trust" in commands(each) for each in last)


def test_one_job_compares_with_pytorch_on_each_change():
    run = commands(job("test.yml", "peers"))
    assert run[-2:] == [".venv/bin/python -m pip install torch", ".venv/bin/python -m pytest -q tests/trust"]


def test_packages_are_built_with_what_is_pinned():
    hashes = r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+"
    pins = dict(re.findall(rf"^([\w-]+)==\S+({hashes})$", CONSTRAINTS, re.MULTILINE))
    assert len(pins) == len(re.findall(r"^[^# ]", CONSTRAINTS, re.MULTILINE))
    required = [re.split(r"\W", requirement)[0].lower() for requirement in PROJECT["build-system"]["requires"]]
    assert {*required, "build", "pip"} <= pins.keys()
    wheels = len(job("wheels.yml", "wheels")["strategy"]["matrix"]["os"]) * len(PYTHONS)
    assert pins["cython"].count("--hash") == wheels + 1  # and one for any Python
    option = "--dependency-constraints-txt .ci/constraints.txt"
    files = [(ROOT / path).read_text() for path in ("Makefile", ".ci/try_wheel")]
    texts = "\n".join([*files, *commands(job("wheels.yml", "sdist"))]).splitlines()
    assert [" ".join(PROJECT["tool"]["cibuildwheel"]["build-frontend"]["args"])] == [option]
    lines = [line for line in texts if re.search(r"python\S* -m build\b", line)]
    assert len(lines) == 3 and all(option in line for line in lines)


def test_classifiers_are_those_of_the_pythons_that_are_tested():
    said = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert said == PYTHONS


def test_every_extra_is_described_and_no_other():
    table = (ROOT / "docs" / "install.md").read_text().partition("| extra |")[2].partition("\n\n")[0]
    assert {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)} == PROJECT["project"]["optional-dependencies"].keys()


def test_what_pickles_and_data_frames_are_tried_with_is_installed_for_the_tests():
    """tests/test_interoperability.py skips what is not there, and `make trust` needs the peers as well."""
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"pandas", "polars", "skops"} <= {requirement.partition(">")[0] for requirement in extras["test"]}
    assert extras["trust"] == ["fastml-kernels[dev,fuzz,parallel,peers]"]
    installed = re.findall(r'^\.venv/(\w+):.*\n.*"\.\[(\w+)\]"$', (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(installed) == [(extra, extra) for extra in ("docs", "fuzz", "parallel", "trust")]
