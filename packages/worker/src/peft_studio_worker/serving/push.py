"""Push an artifact that nobody collected to the Hugging Face Hub, so that a paid training is not lost with its machine.

Needs huggingface_hub, which the extra `train` brings along with transformers.
"""

from __future__ import annotations

from pathlib import Path

from peft_studio_worker.serving.settings import Push


def push(artifact: Path, wanted: Push, token: str | None) -> str:
    """Upload the folder and return its address. Raises `ImportError` without the library, else what that raises."""
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="peft-studio-worker")
    api.create_repo(wanted.repo_id, private=wanted.private, exist_ok=True)
    message = "Adapter that its client did not collect"
    commit = api.upload_folder(repo_id=wanted.repo_id, folder_path=artifact, commit_message=message)
    return str(commit.commit_url)
