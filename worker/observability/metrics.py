"""Every metric of the worker is born here, with a sentence. Names follow Prometheus: base units, `_total` for
counters."""

from prometheus_client import Counter, Gauge

from worker.observability.device_memory import DeviceMemory
from worker.observability.light_metrics import LightCounter, LightGauge, LightHistogram

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

RECORDS = Counter("moderation_records", "Input records taken from Kafka.")
VERDICTS = LightCounter("moderation_verdicts", "Verdicts that the broker confirmed.", ["label"])
TENANT_VERDICTS = LightCounter(
    "moderation_tenant_verdicts",
    "The same by tenant: the first `metrics_tenants` of the policies file; `none` where an event names none, `other`.",
    ["tenant", "label"],
)
VIOLATIONS = LightCounter(
    "moderation_violations", "Violated categories of the verdicts that the broker confirmed.", ["category"]
)
PROMPT_ATTACKS = Counter("moderation_prompt_attacks", "Confirmed verdicts that tell of a prompt attack.")
DEAD_LETTERS = Counter("moderation_dead_letters", "Dead letters that the broker confirmed.", ["cause"])
DEAD_LETTERS_IN_A_ROW = Gauge(
    "moderation_dead_letters_in_a_row", "Dead letters since the last verdict, without replayed records."
)
STALE = Counter("moderation_stale", "Outcomes not published because their partition was taken away meanwhile.")
DROPPED = Counter(
    "moderation_dropped", "Records given back unjudged at a rebalance or stop; their next owner reads them again."
)
REBALANCES = Counter("moderation_rebalances", "Times that partitions were taken away.")
COMMITS = Counter("moderation_commits", "Offset commits, by result.", ["result"])
LAST_COMMIT = Gauge(
    "moderation_last_commit_timestamp_seconds",
    "When the broker last took a commit, in seconds since the epoch; 0 before the first. Nothing to commit, no commit.",
)

JOURNAL_FAILING = Gauge(
    "moderation_journal_failing", "1 while what is in flight cannot be written to the journal; the worker judges on."
)
SUSPECTS = Gauge("moderation_suspects", "Records that were in flight at a kill of the worker and are not answered yet.")
JUDGED_ALONE = Counter("moderation_judged_alone", "Suspects judged with nothing else in flight.")

CONSUMER_LAG = Gauge(
    "moderation_consumer_lag",
    "Offsets between the finished prefix of an input partition that this worker owns and its end, some seconds ago.",
    ["partition"],
)

POLICY_RELOADS = Counter(
    "moderation_policy_reloads",
    "Changes of the policies file: `loaded`, or `refused` with a fault (each one counts once), and the last good "
    "policies stay.",
    ["outcome"],
)
POLICIES_REFUSED = Gauge(
    "moderation_policies_refused", "1 while the policies file is not what acts, because it cannot be used."
)
POLICIES_LOADED = Gauge(
    "moderation_policies_loaded_timestamp_seconds", "When the policies that act were read, in seconds since the epoch."
)

REVIEWS = Counter(
    "moderation_reviews",
    "Reviewers' decisions by the verdict's policy (the first `metrics_tenants` of them, `other`), its label and "
    "the person's; `none` where the review does not say what the verdict was.",
    ["policy", "verdict", "person"],
)
REVIEWED_CATEGORIES = Counter(
    "moderation_reviewed_categories",
    "What reviewers say of categories, by the verdict's label: of its own `confirmed` or `refuted`, others `missed`.",
    ["category", "verdict", "result"],
)
REVIEWS_UNREADABLE = Counter("moderation_reviews_unreadable", "Records on the reviews topic that are no reviews.")
REVIEWS_UNREAD = Gauge(
    "moderation_reviews_unread",
    "1 while the reviews topic is set and cannot be read: it, the right to it or the connection is missing.",
)

SHADOW_VERDICTS = LightCounter(
    "moderation_shadow_verdicts",
    "Verdicts of the shadow policy that the broker confirmed, by the main verdict's label and its own.",
    ["main", "shadow"],
)
SHADOW_DROPPED = LightCounter(
    "moderation_shadow_dropped",
    "Events of the shadow's share that it left alone: `busy` (the guards had no moment for it), `behind` (more than it "
    "keeps up with), `image_url`, `no_policy`, `paused` (this process began after a kill).",
    ["reason"],
)
SHADOW_ERRORS = LightCounter(
    "moderation_shadow_errors",
    "Events that the shadow failed on, by stage: `prepare`, `judge`, `decide`, `publish`. The main verdict is there.",
    ["stage"],
)

IN_FLIGHT_EVENTS = LightGauge("moderation_in_flight_events", "Events fetched and not finished.")
IN_FLIGHT_BYTES = LightGauge("moderation_in_flight_bytes", "Bytes of events fetched and not finished.")
OLDEST_UNFINISHED = LightGauge(
    "moderation_oldest_unfinished_seconds", "Since the arrival of the oldest event in flight; 0 where there is none."
)
PARTITIONS = Gauge("moderation_partitions_assigned", "Input partitions that this worker owns.")
WAITING_FOR_KAFKA = Gauge(
    "moderation_waiting_for_kafka", "1 while a worker that starts waits for brokers that do not answer."
)
MODEL = Gauge("moderation_model_info", "1 for each loaded model.", ["id", "revision", "stand_in"])

STAGE = LightHistogram(
    "moderation_stage_seconds",
    "Time of an event in a stage: `queue` (for a CPU thread), `prepare` (on it), `guard` (the wait for a batch, and "
    "the device), `publish` (the wait for earlier ones of its key, and the broker).",
    ["stage"],
    _LATENCY,
)
END_TO_END = LightHistogram(
    "moderation_end_to_end_seconds", "From the record's arrival to the broker's confirmation.", [], _LATENCY
)

DEVICE_BUSY = Counter("moderation_device_busy_seconds", "Time that batches took on the device, of all guards.")
DEVICE_HANDOVER = Counter(
    "moderation_device_handover_seconds",
    "Time that the device stood still while a batch was there for it: this process had no CPU for its thread.",
)
DEVICE_MEMORY = DeviceMemory(
    "moderation_device_memory_bytes",
    "The GPU's memory: `allocated` to tensors, `reserved` by this process for them, `total`. None without a GPU.",
)

BATCHES = LightCounter("moderation_batches", "Batches judged.", ["guard"])
BATCH_SECONDS = LightCounter("moderation_batch_seconds", "Time that a guard's batches took on the device.", ["guard"])
BATCH_WAIT = LightHistogram(
    "moderation_batch_wait_seconds",
    "Time that a batch's oldest check waited for the device.",
    ["guard"],
    _LATENCY,
)
BATCH_CHECKS = LightCounter("moderation_batch_checks", "Checks judged.", ["guard"])
BATCH_TOKENS = LightCounter("moderation_batch_tokens", "Tokens of the judged checks, without padding.", ["guard"])
BATCH_PADDED_TOKENS = LightCounter(
    "moderation_batch_padded_tokens", "Tokens of the judged batches, with padding.", ["guard"]
)
BATCH_BUDGET_TOKENS = LightCounter(
    "moderation_batch_budget_tokens", "Tokens that the judged batches could have held.", ["guard"]
)
PRESENT_BUDGET_TOKENS = Gauge(
    "moderation_present_budget_tokens",
    "Most tokens of a guard's next batch, with padding: the setting, or less after an out-of-memory.",
    ["guard"],
)
OUT_OF_MEMORY_SPLITS = Counter(
    "moderation_out_of_memory_splits", "Batches halved because the device had no memory for them.", ["guard"]
)
BATCH_RETRIES = Counter(
    "moderation_batch_retries", "Batches that failed, for whatever reason, and were judged again in halves.", ["guard"]
)
FAULTS = Counter("moderation_faults", "Findings without a trustworthy score.", ["guard", "fault"])
GUARD_BREAKER_STATE = Gauge(
    "moderation_guard_breaker_state",
    "0: the guard is asked; 2: it is down, and events are answered without it; 1: a trial is under way.",
    ["guard"],
)
VERDICT_CACHE_LOOKUPS = LightCounter(
    "moderation_verdict_cache_lookups",
    "Events looked up: hit (judged before), joined (judged at the same moment), miss (judged itself).",
    ["result"],
)
VERDICT_CACHE_BYTES = LightGauge("moderation_verdict_cache_bytes", "Bytes of the kept judgements, keys included.")
VERDICT_CACHE_ENTRIES = LightGauge("moderation_verdict_cache_entries", "Judgements kept.")
PREFIX_CACHE_BYTES = Gauge(
    "moderation_prefix_cache_bytes", "Bytes on the device of what Llama Guard's prompts of a policy begin with."
)
DELIMITERS_NEUTRALISED = Counter(
    "moderation_delimiters_neutralised", "Imitations of the delimiters of Llama Guard's prompt, broken in messages."
)
PROMPTS_WITHOUT_PREFIX = Counter(
    "moderation_prompts_without_prefix", "Llama Guard prompts that did not begin as their policy's prompts do."
)

# Of `moderation-worker run --devices`, beside what its workers tell.
WORKER_UP = Gauge("moderation_worker_up", "1 while the worker of a device runs.", ["worker", "device"])
WORKER_RESTARTS = Counter(
    "moderation_worker_restarts", "Times that the worker of a device was started anew.", ["worker"]
)
