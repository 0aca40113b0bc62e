"""What the connector does not do, check by check: the price of so simple a class, told where everybody sees it."""

from __future__ import annotations

from typing import Final

_PROMISED = "supports_inference is set ahead of the methods for it"
_NO_CANCEL = "there is no cancel_job: the interface does not ask for one"
_NO_VERIFY = "there is no verify_connection, and the one of the base trusts connect"
_NO_MAPPING = "statuses are not told apart: every refusal is a RuntimeError with the platform's words as they came"
_NO_READING = "answers are taken to be as documented: what cannot be read ends in an error of Python or aiohttp"
_NO_RESUMPTION = "the log has no numbers to resume at: when the connection is lost, that is an error"

EXPECTED_FAILURES: Final = {
    "manifest-has-the-credentials": "there is no get_required_credentials: connect itself asks for the key",
    "secret-is-not-in-errors": "the platform's words are passed on as they came, even when they repeat the key",
    "secret-is-not-in-the-ledger": "the words are passed on as they came; it is core that masks the key in them",
    "ids-stay-in-their-place": "ids are put into addresses as they are: they come from the platform",
    "unknown-word-is-no-status": "statuses are passed on as the platform calls them, whatever the word",
    **dict.fromkeys(
        [
            "flags-keep-their-word",
            "deployment-has-an-id",
            "endpoint-has-an-address",
            "endpoint-answers",
            "deployments-are-listed",
            "every-deployment-is-listed",
            "stop-ends-it",
            "stop-twice",
            "stopped-endpoint-is-an-error",
            "lost-deployment-is-not-repeated",
            "stop-without-an-answer",
            "refused-deployment-says-why",
        ],
        _PROMISED,
    ),
    **dict.fromkeys(
        [
            "cancel-stops-the-job",
            "cancel-of-a-waiting-job",
            "cancel-twice",
            "cancel-after-the-end",
            "cancel-of-an-unknown-job",
            "cancel-without-an-answer",
            "jobs-do-not-mix",
            "logs-of-a-cancelled-job",
        ],
        _NO_CANCEL,
    ),
    **dict.fromkeys(["verify-connection-notices-revocation", "verify-connection-notices-silence"], _NO_VERIFY),
    **dict.fromkeys(
        [
            "answer-401",
            "answer-402",
            "answer-403",
            "answer-404",
            "answer-409",
            "answer-429",
            "answer-429-with-a-date",
            "answer-429-without-a-time",
            "answer-500",
            "answer-503",
            "error-has-the-words",
            "error-has-the-name",
            "error-keeps-unicode",
            "error-stays-short",
            "error-stays-on-one-line",
            "unknown-resource-has-no-price",
            "unknown-resource-is-refused",
            "failing-server-is-no-refusal",
            "failing-gateway-is-no-refusal",
            "refused-payment-creates-nothing",
            "refused-config-says-why",
            "unknown-job-is-not-found",
            "no-status-from-a-failing-server",
            "no-status-from-a-refusal",
            "no-status-from-a-limit",
            "logs-of-an-unknown-job",
        ],
        _NO_MAPPING,
    ),
    **dict.fromkeys(
        [
            "truncated-answer",
            "cut-json",
            "garbage-answer",
            "page-of-a-proxy",
            "empty-answer",
            "answer-of-another-shape",
            "redirect-to-another-host",
            "garbled-answer-is-no-refusal",
            "answer-without-an-id-is-no-success",
            "no-status-from-garbage",
        ],
        _NO_READING,
    ),
    **dict.fromkeys(["logs-survive-a-cut", "logs-survive-many-cuts", "logs-survive-silence"], _NO_RESUMPTION),
}
