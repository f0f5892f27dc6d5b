"""The panels of the Grafana dashboard: each a question's answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: its title, what it shows, the unit, and the queries by their legend."""

    title: str
    tells: str
    unit: str
    queries: dict[str, str]
    stacked: bool = False


def _quantile(share: str, metric: str, by: str = "") -> str:
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({groups}) (rate({metric}_bucket{{{_OURS}}}[$__rate_interval])))"


def _rate(metric: str, by: str = "", more: str = "") -> str:
    how = f"sum by ({by})" if by else "sum"
    return f"{how} (rate({metric}{{{_OURS}{more}}}[$__rate_interval]))"


_OURS = 'instance=~"$instance"'
_NOT_SAFE = ', label!="safe"'
_PERSON_UNSAFE = ', person="unsafe"'
_CONFIRMED = ', result="confirmed"'
_NAMED = ', result!="missed"'

ROWS: dict[str, tuple[Panel, ...]] = {
    "Are we behind?": (
        Panel(
            "Events that wait",
            "Between what is finished and the end of each partition. Growing: more comes in than is judged.",
            "short",
            {"partition {{partition}}": f"sum by (partition) (moderation_consumer_lag{{{_OURS}}})"},
            stacked=True,
        ),
        Panel(
            "In and out",
            "Records taken, verdicts and dead letters confirmed. The last two add up to the first.",
            "reqps",
            {
                "in": _rate("moderation_records_total"),
                "{{label}}": _rate("moderation_verdicts_total", "label"),
                "dead letters": _rate("moderation_dead_letters_total"),
            },
        ),
        Panel(
            "Age of the oldest event in flight, and of the last commit",
            "A commit is old where there is nothing to commit as well.",
            "s",
            {
                "oldest event {{instance}}": f"moderation_oldest_unfinished_seconds{{{_OURS}}}",
                # Clocks of two machines: never below 0.
                "last commit {{instance}}": (
                    f"clamp_min(time() - (moderation_last_commit_timestamp_seconds{{{_OURS}}} > 0), 0)"
                ),
            },
        ),
        Panel(
            "In flight",
            "At the limit of max_in_flight_events the worker takes nothing more.",
            "short",
            {"{{instance}}": f"moderation_in_flight_events{{{_OURS}}}"},
        ),
        Panel(
            "Partitions",
            "Together all of the input topic's; fewer: nobody reads the others.",
            "short",
            {"{{instance}}": f"moderation_partitions_assigned{{{_OURS}}}"},
            stacked=True,
        ),
        Panel(
            "Commits",
            "Refused ones belong to rebalances.",
            "reqps",
            {"{{result}}": _rate("moderation_commits_total", "result")},
        ),
    ),
    "Are we slow?": (
        Panel(
            "From a record's arrival to the confirmed verdict",
            "The whole way of an event.",
            "s",
            {f"p{share[2:]}": _quantile(share, "moderation_end_to_end_seconds") for share in ("0.50", "0.95", "0.99")},
        ),
        Panel(
            "Slowest hundredth by stage",
            "Where the time goes: the stage that grows is the one to look at.",
            "s",
            {"{{stage}}": _quantile("0.99", "moderation_stage_seconds", "stage")},
        ),
        Panel(
            "Device busy",
            "1 is a device that never waits: then only more devices, or less work, help. One that waits for CPU has a "
            "batch at hand: give the pod more cores.",
            "percentunit",
            {
                "{{instance}}": _rate("moderation_device_busy_seconds_total", "instance"),
                "{{instance}} waits for CPU": _rate("moderation_device_handover_seconds_total", "instance"),
            },
        ),
        Panel(
            "Padding and filling of batches",
            "Useful tokens among the padded ones, and padded ones of the budget.",
            "percentunit",
            {
                "useful {{guard}}": (
                    f"{_rate('moderation_batch_tokens_total', 'guard')}"
                    f" / {_rate('moderation_batch_padded_tokens_total', 'guard')}"
                ),
                "filled {{guard}}": (
                    f"{_rate('moderation_batch_padded_tokens_total', 'guard')}"
                    f" / {_rate('moderation_batch_budget_tokens_total', 'guard')}"
                ),
            },
        ),
        Panel(
            "Memory of the device",
            "Where batches are halved for want of memory, their budget is too large for this card.",
            "bytes",
            {"{{kind}} {{instance}}": f"moderation_device_memory_bytes{{{_OURS}}}"},
        ),
        Panel(
            "Identical content",
            "Share of the events that were judged before (hit) or at the same moment (joined).",
            "percentunit",
            {
                "{{result}}": (
                    f"{_rate('moderation_verdict_cache_lookups_total', 'result')}"
                    f" / scalar({_rate('moderation_verdict_cache_lookups_total')})"
                )
            },
        ),
    ),
    "Are we wrong?": (
        Panel(
            "Shares of the labels",
            "A share that jumps: a raid, or a model or policy that changed.",
            "percentunit",
            {
                "{{label}}": (
                    f"{_rate('moderation_verdicts_total', 'label')} / scalar({_rate('moderation_verdicts_total')})"
                )
            },
        ),
        Panel(
            "Violated categories",
            "Of the verdicts that the broker confirmed.",
            "reqps",
            {"{{category}}": _rate("moderation_violations_total", "category")},
        ),
        Panel(
            "Unsafe and review by tenant",
            "The ten tenants with the most.",
            "reqps",
            {
                "{{tenant}} {{label}}": (
                    f"topk(10, {_rate('moderation_tenant_verdicts_total', 'tenant, label', _NOT_SAFE)})"
                )
            },
        ),
        Panel(
            "What reviewers say of verdicts",
            "Of the verdicts with a label, the share that people call unsafe: for unsafe ones that is the precision.",
            "percentunit",
            {
                "{{verdict}} {{policy}}": (
                    f"{_rate('moderation_reviews_total', 'verdict, policy', _PERSON_UNSAFE)}"
                    f" / {_rate('moderation_reviews_total', 'verdict, policy')}"
                )
            },
        ),
        Panel(
            "Reviewed categories",
            "Of the categories that verdicts name, the share that reviewers confirm.",
            "percentunit",
            {
                "{{category}}": (
                    f"{_rate('moderation_reviewed_categories_total', 'category', _CONFIRMED)}"
                    f" / {_rate('moderation_reviewed_categories_total', 'category', _NAMED)}"
                )
            },
        ),
        Panel(
            "Dead letters by cause",
            "What cannot be judged. `moderation-worker dead-letters list` shows which.",
            "reqps",
            {"{{cause}}": _rate("moderation_dead_letters_total", "cause")},
        ),
        Panel(
            "Shadow",
            "Pairs of labels, the acting policy's and the shadow's, that differ; and what the shadow left alone.",
            "reqps",
            {
                "{{main}}, shadow {{shadow}}": " or ".join(
                    _rate("moderation_shadow_verdicts_total", "main, shadow", f', main="{label}", shadow!="{label}"')
                    for label in ("safe", "review", "unsafe")
                ),
                "left alone: {{reason}}": _rate("moderation_shadow_dropped_total", "reason"),
                "failed: {{stage}}": _rate("moderation_shadow_errors_total", "stage"),
            },
        ),
        Panel(
            "Findings without a trustworthy answer",
            "Their events go to review, never to safe.",
            "reqps",
            {"{{guard}} {{fault}}": _rate("moderation_faults_total", "guard, fault")},
        ),
        Panel(
            "Guards that are down, journals that fail, suspects",
            "All of them 0 where all is well.",
            "short",
            {
                "down {{guard}} {{instance}}": f"moderation_guard_breaker_state{{{_OURS}}}",
                "journal {{instance}}": f"moderation_journal_failing{{{_OURS}}}",
                "suspects {{instance}}": f"moderation_suspects{{{_OURS}}}",
            },
        ),
    ),
    "What changed?": (
        Panel(
            "Models",
            "How many workers run which model at which commit.",
            "short",
            {
                "{{id}} {{revision}} stand-in: {{stand_in}}": (
                    f"sum by (id, revision, stand_in) (moderation_model_info{{{_OURS}}})"
                )
            },
        ),
        Panel(
            "Policies",
            "Files that came to act, and files that cannot be used: while one lies there, the last good policies act.",
            "short",
            {
                "{{outcome}}": (
                    f"sum by (outcome) (increase(moderation_policy_reloads_total{{{_OURS}}}[$__rate_interval]))"
                ),
                "not in use {{instance}}": f"moderation_policies_refused{{{_OURS}}}",
            },
        ),
        Panel(
            "Age of the workers",
            "A line that falls to 0 is a start.",
            "s",
            {"{{instance}}": f'clamp_min(time() - process_start_time_seconds{{job="moderation-worker", {_OURS}}}, 0)'},
        ),
        Panel(
            "Rebalances, and what they cost",
            "Records given back unjudged, and outcomes that came too late: their next owner judges them again.",
            "short",
            {
                "rebalances": f"sum (increase(moderation_rebalances_total{{{_OURS}}}[$__rate_interval]))",
                "given back": f"sum (increase(moderation_dropped_total{{{_OURS}}}[$__rate_interval]))",
                "too late": f"sum (increase(moderation_stale_total{{{_OURS}}}[$__rate_interval]))",
            },
        ),
    ),
}
