"""Containers: real processes, started again when they end, with a disk that is wiped and a mount that stays."""

from __future__ import annotations

import sys

import psutil

from peft_studio_runpod.sandbox import RunpodSandbox

MOUNT = {"persistent": {"size": 20, "path": "/workspace"}}


def test_a_container_that_ends_is_started_again_and_the_pod_runs_on(sandbox, api, rent, eventually):
    """No exit code, no count, RUNNING all the time, and the bill grows."""
    pod = rent("echo started; exit 3")
    for count in (1, 2, 3):
        eventually(lambda wanted=count: pod.log.container_lines == ["started"] * wanted and pod.container.is_resting)
        sandbox.advance(5)
    told = api.get(f"/v2/pods/{pod.id}").json()
    assert ("RUNNING", 0.74) == (told["status"], told["cost"])
    assert sandbox.bills()[pod.id] > 0


def test_the_disk_is_wiped_at_each_start_and_the_mount_stays(sandbox, rent, eventually):
    """A marker of the last round is found on the mount alone, whose path the command names."""
    pod = rent("ls; ls /workspace; touch onDisk /workspace/onMount", mounts=MOUNT)
    eventually(lambda: pod.container.is_resting)
    sandbox.advance(5)
    eventually(lambda: pod.log.container_lines == ["tmp", "tmp", "onMount"])


def test_stop_and_start_keep_the_mount_and_nothing_else(api, sandbox, rent, eventually, alive):
    """Stopped: no process; started: the mount is as it was."""
    pod = rent("ls; ls /workspace; touch onDisk /workspace/onMount; echo ready; sleep 60", mounts=MOUNT)
    eventually(lambda: "ready" in pod.log.container_lines)
    api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"})
    eventually(lambda: not alive(pod))
    api.post(f"/v2/pods/{pod.id}/action", json={"action": "start"})
    assert "STARTING" == pod.status
    sandbox.advance(3)
    eventually(lambda: pod.log.container_lines == ["tmp", "ready", "tmp", "onMount", "ready"])


def test_a_mount_path_is_replaced_as_a_path_only(rent, eventually):
    """In the command and in variables; not inside a longer name."""
    pod = rent(
        'echo "$ROOT" /workspaces /x/workspace $RUNPOD_SANDBOX_MOUNT', env={"ROOT": "/workspace/a"}, mounts=MOUNT
    )
    (line,) = eventually(lambda: pod.log.container_lines)
    root, longer, inside, mount = line.split()
    assert (f"{mount}/a", "/workspaces", "/x/workspace") == (root, longer, inside)


def test_the_platform_injects_its_variables_and_they_win(rent, eventually):
    """A RUNPOD_API_KEY of one's own is not seen; what the sandbox's user has in the environment is not either."""
    script = 'echo "$RUNPOD_POD_ID $RUNPOD_API_KEY $RUNPOD_DC_ID $RUNPOD_GPU_COUNT $MINE" "${USER_SECRET-none}"'
    pod = rent(script, env={"RUNPOD_API_KEY": "own", "MINE": "yes"})
    (line,) = eventually(lambda: pod.log.container_lines)
    assert f"{pod.id} {pod.key} US-KS-2 1 yes none" == line


def test_a_variable_named_port_gets_the_real_one(rent, eventually):
    """Several pods of one port live on one machine."""
    pods = [rent("echo $APP_PORT $OTHER", env={"APP_PORT": "8000", "OTHER": "8000"}, ports=["8000/http"]) for _ in "ab"]
    told = [eventually(lambda pod=pod: pod.log.container_lines)[0].split() for pod in pods]
    assert ["8000", "8000"] == [other for _, other in told]
    assert 2 == len({port for port, _ in told} - {"8000"})


def test_stdout_and_stderr_are_the_log(rent, eventually):
    """Line by line, whatever the bytes."""
    pod = rent(r"echo out; echo err >&2; printf 'g\303\274n\n\377\n'")
    eventually(lambda: {"out", "err", "gün", "\N{REPLACEMENT CHARACTER}"} <= set(pod.log.container_lines))


def test_deleting_a_pod_ends_what_it_started_and_nothing_else(api, rent, eventually, alive):
    """Also what left its process group; its neighbour lives."""
    script = "setsid sleep 61 & sleep 62 & echo ready; wait"
    pod, neighbour = rent(script), rent(script)
    for each in (pod, neighbour):
        eventually(lambda each=each: len(alive(each)) >= 3)
    api.delete(f"/v2/pods/{pod.id}")
    eventually(lambda: not alive(pod))
    assert len(alive(neighbour)) >= 3


def test_what_hides_its_environment_is_ended_too(api, rent, eventually):
    """While its parent lives, it is known by it."""
    pod = rent("env -i setsid sleep 65 & echo $!; wait")
    (number,) = eventually(lambda: pod.log.container_lines)
    hidden = psutil.Process(int(number))
    eventually(lambda: hidden.name() == "sleep")
    api.delete(f"/v2/pods/{pod.id}")
    eventually(lambda: not is_alive(hidden))


def test_what_a_container_leaves_behind_dies_with_its_first_process(rent, eventually, alive):
    """As in a container."""
    pod = rent("setsid sleep 61 & echo ready")
    eventually(lambda: pod.log.container_lines == ["ready"])
    eventually(lambda: not alive(pod))


def test_nothing_survives_the_sandbox(wanted, eventually, alive):
    """`stop` returns when every process is gone, and the folder too."""
    import httpx2

    with RunpodSandbox() as sandbox:
        folder = sandbox.folder
        headers = {"authorization": f"Bearer {sandbox.key}", "user-agent": "t/1"}
        body = wanted("trap '' TERM; setsid sleep 63 & sleep 64")
        id = httpx2.post(f"{sandbox.url}/v2/pods", headers=headers, json=body).json()["id"]
        sandbox.advance(5)
        pod = sandbox.pods[id]
        eventually(lambda: len(alive(pod)) >= 3)
    assert [] == alive(pod)
    assert not folder.exists()


def test_a_command_that_is_not_there_loops_and_says_so(sandbox, rent, eventually):
    """A plain `args` of several words is one word: exec fails, again and again."""
    pod = rent(entrypoint=None, cmd=None, args="python train.py")
    said = "error starting container: exec: 'python train.py': No such file or directory"
    eventually(lambda: said in [line.text for line in pod.log.lines] and pod.container.is_resting)
    sandbox.advance(5)
    eventually(lambda: 2 == pod.container.starts)
    assert "RUNNING" == pod.status


def test_args_may_be_the_command_as_json(rent, eventually):
    """The documented form."""
    pod = rent(entrypoint=None, cmd=None, args='{"entrypoint": ["/bin/sh", "-c"], "cmd": ["echo json; sleep 60"]}')
    eventually(lambda: pod.log.container_lines == ["json"])


def test_cmd_alone_follows_the_entrypoint_of_the_image(sandbox, rent, eventually):
    """Images are given to the sandbox by name; one that is unknown has none."""
    sandbox.pods.images["own:1"] = (sys.executable, "-c", "import sys; print(sys.argv[1:])")
    pod = rent(image="own:1", entrypoint=None, cmd=["a", "b c"])
    eventually(lambda: pod.log.container_lines[:1] == ["['a', 'b c']"])


def test_a_changed_environment_starts_the_container_anew_and_a_name_does_not(sandbox, api, rent, eventually):
    """PATCH."""
    pod = rent("echo $WHO; sleep 60", env={"WHO": "one"})
    eventually(lambda: pod.log.container_lines == ["one"])
    pid = pod.container.pid
    api.patch(f"/v2/pods/{pod.id}", json={"name": "other"})
    assert ("RUNNING", pid) == (pod.status, pod.container.pid)
    api.patch(f"/v2/pods/{pod.id}", json={"env": {"WHO": "two"}})
    assert "STARTING" == pod.status
    sandbox.advance(3)
    eventually(lambda: pod.log.container_lines == ["one", "two"])


def test_a_pod_deletes_itself_with_the_key_that_it_was_given(sandbox, rent, eventually, alive):
    """And may do nothing else: not look at the list, not at itself, not at others."""
    other = rent()
    script = """
import json, os, time, urllib.error, urllib.request
base, own = os.environ["RUNPOD_API_BASE_URL"] + "/v2/pods", os.environ["RUNPOD_POD_ID"]
headers = {"authorization": "Bearer " + os.environ["RUNPOD_API_KEY"], "user-agent": "pod/1"}
def ask(method, path):
    try:
        return urllib.request.urlopen(urllib.request.Request(base + path, method=method, headers=headers)).status
    except urllib.error.HTTPError as error:
        return error.code
print([ask("GET", ""), ask("POST", ""), ask("GET", "/" + own), ask("DELETE", "/" + os.environ["OTHER"])], flush=True)
ask("DELETE", "/" + own)
time.sleep(60)
"""
    pod = rent(entrypoint=["python", "-c"], cmd=[script], env={"OTHER": other.id})
    eventually(lambda: pod.is_deleted)
    assert ["[403, 403, 403, 403]"] == pod.log.container_lines
    eventually(lambda: not alive(pod))
    assert {other.id} == set(sandbox.pods)


def is_alive(process: psutil.Process) -> bool:
    """Not gone, and not a zombie that waits for somebody to notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
