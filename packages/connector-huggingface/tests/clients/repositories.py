"""A repository's life through `huggingface_hub`, as its documentation shows it. Prints what it saw as JSON."""

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

ADAPTER = "me/tiny-lora"


def refused(call, *arguments, **named) -> str:
    """The error that it raises: its class and the status that was answered."""
    try:
        call(*arguments, **named)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the client makes of the answer
        status = getattr(getattr(error, "response", None), "status_code", None)
        return f"{type(error).__name__} {status}"
    return "nothing"


def digests(folder: str) -> dict[str, str]:
    """The sha256 of every file of the repository as it was downloaded."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".gitattributes"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main(source: str, wrong: str, stranger: str, reader: str) -> None:
    """Everything that a client of a repository does."""
    api, seen = HfApi(), {}
    who = api.whoami()
    seen["whoami"] = [who["name"], who["auth"]["accessToken"]["role"], api.whoami(token=reader)["auth"]]
    seen["wrong token"] = refused(api.whoami, token=wrong)
    seen["url"] = str(api.create_repo(ADAPTER, private=True))
    seen["again"] = [refused(api.create_repo, ADAPTER), str(api.create_repo(ADAPTER, exist_ok=True))]
    seen["read only"] = refused(api.create_repo, "me/other", token=reader)
    seen["not mine"] = refused(api.create_repo, "somebody/other")
    first = api.upload_folder(repo_id=ADAPTER, folder_path=source, commit_message="First")
    seen["unchanged"] = api.upload_folder(repo_id=ADAPTER, folder_path=source).oid == first.oid
    seen["files"] = api.list_repo_files(ADAPTER)
    info = api.model_info(ADAPTER, files_metadata=True)
    seen["info"] = [info.sha == first.oid, info.private, info.library_name, info.card_data.base_model, info.tags]
    lfs = next(each for each in info.siblings if each.rfilename == "adapter_model.safetensors")
    seen["lfs"] = [lfs.lfs.sha256, lfs.size, lfs.blob_id]
    seen["verified"] = api.verify_repo_checksums(ADAPTER, local_dir=source).checked_count
    api.create_tag(ADAPTER, tag="v1")
    api.create_branch(ADAPTER, branch="next")
    where = {"revision": "next", "parent_commit": first.oid}
    second = api.create_commit(ADAPTER, [CommitOperationAdd("note.txt", b"new")], commit_message="Second", **where)
    late = [CommitOperationAdd("note.txt", b"late")]
    seen["moved on"] = refused(api.create_commit, ADAPTER, late, commit_message="Late", **where)
    api.delete_file("note.txt", ADAPTER, revision="next")
    seen["history"] = [commit.title for commit in api.list_repo_commits(ADAPTER, revision="next")]
    refs = api.list_repo_refs(ADAPTER)
    seen["refs"] = [[branch.name for branch in refs.branches], [tag.name for tag in refs.tags]]
    whole = snapshot_download(ADAPTER)
    seen["digests"] = digests(whole)
    seen["pinned"] = (
        Path(whole).name == first.oid
        and (Path(snapshot_download(ADAPTER, revision=second.oid)) / "note.txt").read_text()
    )
    seen["tag"] = Path(snapshot_download(ADAPTER, revision="v1")).name == first.oid
    seen["paths"] = [path.path for path in api.get_paths_info(ADAPTER, ["README.md", "missing"])]
    seen["missing file"] = refused(api.hf_hub_download, ADAPTER, "missing.bin")
    seen["missing revision"] = refused(api.model_info, ADAPTER, revision="missing")
    seen["hidden"] = [refused(api.model_info, ADAPTER, token=token) for token in (stranger, False)]
    seen["hidden file"] = refused(api.hf_hub_download, ADAPTER, "README.md", token=stranger, cache_dir="empty")
    seen["gated"] = [
        refused(api.hf_hub_download, "acme/gated", "config.json", token=token) for token in (stranger, False)
    ]
    seen["gated info"] = api.model_info("acme/gated", token=stranger).gated
    bad = [CommitOperationAdd("README.md", b"---\na: [\n---\n")]
    seen["bad card"] = refused(api.create_commit, ADAPTER, bad, commit_message="Bad")
    api.delete_repo(ADAPTER)
    seen["gone"] = [refused(api.model_info, ADAPTER), api.repo_exists(ADAPTER)]
    json.dump(seen, sys.stdout)


try:
    main(*sys.argv[1:])
except HfHubHTTPError as error:
    raise SystemExit(f"{error}\n{error.response.text}") from error
