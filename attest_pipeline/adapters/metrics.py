"""Every Prometheus metric of the processes, in one list. Labels are bounded: never an agent, a tenant or a URL."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

STAGE_SECONDS: Final = Histogram(
    "attest_stage_seconds",
    "Seconds a stage spends on one frame.",
    ["stage"],
    buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
)
STAGE_ITEMS: Final = Counter("attest_stage_items", "Attestations that left a stage.", ["stage"])
VERDICTS: Final = Counter(
    "attest_verdicts",
    "Evidence judged, by TEE, verdict (a status, rejected or malfunction) and, for the last two, the reason code.",
    ["tee", "verdict", "reason"],
)
ATTESTATION_SECONDS: Final = Histogram(
    "attest_attestation_seconds",
    "Seconds from the storing of Evidence to the storing of its result; durable lanes, whole seconds.",
    buckets=(1, 2, 5, 10, 30, 60, 300, 1800),
)
BROKER_CONNECTED: Final = Gauge("attest_broker_connected", "1 while this process is connected to the broker.")
DEAD_LETTERS: Final = Counter("attest_dead_letters", "Evidence given up after its last delivery.")
CONFIG_PUBLISHED: Final = Counter("attest_config_published", "Configuration versions by outcome.", ["outcome"])
COLLATERAL_HITS: Final = Counter("attest_collateral_cache_hits", "Endorsements that parse had at hand.", ["vendor"])
COLLATERAL_MISSES: Final = Counter(
    "attest_collateral_cache_misses", "Endorsements that Evidence had to wait for, counted each time.", ["vendor"]
)
COLLATERAL_FETCHES: Final = Counter(
    "attest_collateral_fetches",
    "Collateral asked of a vendor by outcome: fetched, absent, throttled, failed, refused (not to be believed), "
    "older (a roll-back).",
    ["vendor", "outcome"],
)
COLLATERAL_WAITING: Final = Gauge("attest_collateral_waiting", "Messages that wait in parse for collateral.")
COLLATERAL_QUEUED: Final = Gauge(
    "attest_collateral_queued", "Requests that wait for a vendor's rate budget.", ["vendor"]
)
COLLATERAL_EXPIRY: Final = Gauge(
    "attest_collateral_expiry_seconds", "Seconds until the first record of a vendor expires.", ["vendor"]
)
WEBHOOK_DELIVERIES: Final = Counter(
    "attest_webhook_deliveries",
    "Webhook deliveries by outcome of the attempt: delivered, failed, refused, gone, unwanted, unreadable, exhausted.",
    ["outcome"],
)
WEBHOOK_LAG: Final = Histogram(
    "attest_webhook_lag_seconds",
    "Seconds between the storing of a result and its delivery.",
    buckets=(0.1, 0.5, 1, 5, 30, 120, 600, 3600, 21600, 86400, 259200),
)
WEBHOOK_DISABLED: Final = Gauge(
    "attest_webhook_endpoint_disabled",
    "1 for an endpoint that answered 410 and gets nothing until the worker restarts.",
    ["endpoint"],
)
