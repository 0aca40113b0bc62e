"""Jobs through `huggingface_hub`, as its documentation shows them. Prints what it saw as JSON."""

import json
import sys

from huggingface_hub import HfApi

api = HfApi()


def refused(call, *arguments, **named) -> str:
    """The error that it raises: its class and the status that was answered."""
    try:
        call(*arguments, **named)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the client makes of the answer
        return f"{type(error).__name__} {getattr(getattr(error, 'response', None), 'status_code', None)}"
    return "nothing"


def summary(job) -> list:
    """What is looked at."""
    return [job.status.stage, job.status.message, job.flavor, job.secrets, job.labels["run"], job.owner.name]


hardware = {each.name: each for each in api.list_jobs_hardware()}
seen = {"hardware": [len(hardware), hardware["a10g-small"].unit_cost_usd, hardware["l4x4"].accelerator.quantity]}
wish = {"image": "python:3.12", "command": ["python", "-c", "print(1)"], "namespace": "me"}
job = api.run_job(
    **wish, flavor="a10g-small", secrets={"TOKEN": "x"}, env={"A": "b"}, timeout="2h", labels={"run": "1"}
)
seen["created"] = summary(job)
seen["lines"] = list(api.fetch_job_logs(job_id=job.id, namespace="me", follow=True))
done = api.inspect_job(job_id=job.id, namespace="me")
seen["done"] = [*summary(done), done.durations.scheduling_secs, done.durations.running_secs]
seen["tail"] = list(api.fetch_job_logs(job_id=job.id, namespace="me", tail=2))
short = api.run_job(**wish, timeout=1, labels={"run": "2"})
list(api.fetch_job_logs(job_id=short.id, namespace="me", follow=True))
seen["timeout"] = summary(api.inspect_job(job_id=short.id, namespace="me"))
third = api.run_job(**wish, labels={"run": "3"})
api.cancel_job(job_id=third.id, namespace="me")
seen["cancelled"] = summary(api.inspect_job(job_id=third.id, namespace="me"))
seen["listed"] = [each.labels["run"] for each in api.list_jobs(namespace="me")]
seen["filtered"] = [each.labels["run"] for each in api.list_jobs(namespace="me", labels={"run": "2"}, status="ERROR")]
seen["unknown"] = refused(api.inspect_job, job_id="nope", namespace="me")
seen["not mine"] = refused(api.run_job, **{**wish, "namespace": "somebody"})
seen["flavor"] = refused(api.run_job, **wish, flavor="abacus")
json.dump(seen, sys.stdout)
