"""A folder goes up and comes back through `huggingface_hub`. Prints the sha256 of each file that came."""

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

api = HfApi()
api.create_repo("me/transfer", private=True)
try:
    api.upload_folder(repo_id="me/transfer", folder_path=sys.argv[1])
except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the client makes of the answer
    json.dump(str(error), sys.stdout)
    sys.exit()
came = Path(snapshot_download("me/transfer"))
files = [path for path in came.rglob("*") if path.is_file() and path.name != ".gitattributes"]
digests = {path.relative_to(came).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
json.dump(digests, sys.stdout)
