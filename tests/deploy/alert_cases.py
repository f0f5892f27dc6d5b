"""For each alert: series that must raise it, and series like them that must not. One value a minute."""

from dataclasses import dataclass

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """What Prometheus sees, and the minute at which it is asked."""

    fires: Series
    quiet: Series
    quiet_too: tuple[Series, ...] = ()
    minute: int = 40


A, B = '{instance="a", job="moderation-worker"}', '{instance="b", job="moderation-worker"}'


def _labels(safe: str, unsafe: str, review: str) -> Series:
    series = {"safe": safe, "unsafe": unsafe, "review": review}
    return {f'moderation_verdicts_total{{instance="a", label="{label}"}}': each for label, each in series.items()}


def _breaker(values: str) -> Series:
    return {'moderation_guard_breaker_state{instance="a", guard="llama_guard"}': values}


def _checks(faults: str) -> Series:
    return {
        'moderation_batch_checks_total{instance="a", guard="llama_guard"}': "0+600x60",
        'moderation_faults_total{instance="a", guard="llama_guard", fault="unparseable"}': faults,
    }


CASES: dict[str, Case] = {
    # The quiet one: a worker of which nothing else is known.
    "ModerationNoWorker": Case({"up" + A: "0x60"}, {"moderation_partitions_assigned" + A: "12x60"}),
    "ModerationWorkerDown": Case({"up" + A: "1x20 0x40"}, {"up" + A: "1x20 0x5 1x60", 'up{job="else"}': "0x90"}),
    "ModerationPartitionsUnassigned": Case(
        {"moderation_partitions_assigned" + A: "0x60", "moderation_partitions_assigned" + B: "0x60"},
        {"moderation_partitions_assigned" + A: "12x60", "moderation_partitions_assigned" + B: "0x60"},
    ),
    "ModerationLagGrowing": Case(
        {'moderation_consumer_lag{instance="a", partition="0"}': "0+500x60"},
        {'moderation_consumer_lag{instance="a", partition="0"}': "30000-500x60"},
    ),
    "ModerationWaitingForKafka": Case(
        {"moderation_waiting_for_kafka" + A: "1x60", "moderation_waiting_for_kafka" + B: "0x60"},
        {"moderation_waiting_for_kafka" + A: "1x2 0x10 1x2 0x60"},
    ),
    # 9,000 events wait, and 20 a second are judged; where it is quiet 100 a second, or the backlog melts, or is small.
    "ModerationBehind": Case(
        {
            'moderation_consumer_lag{instance="a", partition="0"}': "9000x60",
            'moderation_verdicts_total{instance="a", label="safe"}': "0+1200x60",
        },
        {
            'moderation_consumer_lag{instance="a", partition="0"}': "9000x60",
            'moderation_verdicts_total{instance="a", label="safe"}': "0+6000x60",
        },
        (
            {
                'moderation_consumer_lag{instance="a", partition="0"}': "90000-1500x60",
                'moderation_verdicts_total{instance="a", label="safe"}': "0+1200x60",
            },
            {
                'moderation_consumer_lag{instance="a", partition="0"}': "900x60",
                'moderation_verdicts_total{instance="a", label="safe"}': "0+60x60",
            },
        ),
    ),
    "ModerationEventsOld": Case(
        {"moderation_oldest_unfinished_seconds" + A: "0+20x60"},
        {"moderation_oldest_unfinished_seconds" + A: "5 90 5 4 80 6 7x60"},
    ),
    # The quiet one commits nothing either, and nothing waits.
    "ModerationNoCommits": Case(
        {
            "moderation_last_commit_timestamp_seconds" + A: "60x60",
            'moderation_consumer_lag{instance="a", partition="0"}': "100x60",
        },
        {
            "moderation_last_commit_timestamp_seconds" + A: "60x60",
            'moderation_consumer_lag{instance="a", partition="0"}': "0x60",
            'moderation_consumer_lag{instance="b", partition="1"}': "9x60",
        },
    ),
    "ModerationSlow": Case(
        {
            'moderation_end_to_end_seconds_bucket{instance="a", le="5"}': "0+50x60",
            'moderation_end_to_end_seconds_bucket{instance="a", le="10"}': "0+100x60",
            'moderation_end_to_end_seconds_bucket{instance="a", le="+Inf"}': "0+100x60",
        },
        {
            'moderation_end_to_end_seconds_bucket{instance="a", le="1"}': "0+100x60",
            'moderation_end_to_end_seconds_bucket{instance="a", le="5"}': "0+100x60",
            'moderation_end_to_end_seconds_bucket{instance="a", le="+Inf"}': "0+100x60",
        },
    ),
    "ModerationOutOfMemory": Case(
        {'moderation_out_of_memory_splits_total{instance="a", guard="llama_guard"}': "0+1x60"},
        {'moderation_out_of_memory_splits_total{instance="a", guard="llama_guard"}': "0x10 3x60"},
    ),
    "ModerationDeadLetters": Case(
        {
            **_labels("0+600x60", "0+60x60", "0+60x60"),
            'moderation_dead_letters_total{instance="a", cause="not_json"}': "0+20x60",
        },
        {
            **_labels("0+600x60", "0+60x60", "0+60x60"),
            'moderation_dead_letters_total{instance="a", cause="not_json"}': "0+2x60",
        },
    ),
    "ModerationDeadLettersInARow": Case(
        {"moderation_dead_letters_in_a_row" + A: "0+20x60"}, {"moderation_dead_letters_in_a_row" + A: "400x60"}
    ),
    "ModerationReviewShare": Case(
        _labels("0+300x60", "0+60x60", "0+240x60"),
        _labels("0+540x60", "0+30x60", "0+30x60"),
    ),
    "ModerationUnsafeShareJumped": Case(
        _labels("0+990x1440 990000+800x120", "0+10x1440 14400+200x120", "0x1560"),
        _labels("0+800x1560", "0+200x1560", "0x1560"),
        (_labels("0+0.5x1560", "0x1500 1x60", "0x1560"),),  # a quiet night with one
        minute=1540,
    ),
    "ModerationPoliciesRefused": Case(
        {"moderation_policies_refused" + A: "0x20 1x40"}, {"moderation_policies_refused" + A: "0x20 1 0x17 1 0x60"}
    ),
    "ModerationGuardDown": Case(_breaker("0x20 2 2 1 2 2 2 1 2 2x40"), _breaker("0x60")),
    "ModerationGuardFaults": Case(_checks("0+30x60"), _checks("0+1x60")),
    "ModerationCrashLoop": Case(
        {"process_start_time_seconds" + A: "1x15 2x8 3x8 4x8 5x30"},  # the back-off of five minutes, and two of loading
        {"process_start_time_seconds" + A: "1x15 2x60", "process_start_time_seconds" + B: "7x60"},
        minute=59,
    ),
    "ModerationSuspects": Case({"moderation_suspects" + A: "4x60"}, {"moderation_suspects" + A: "0x20 9 7 3 0x60"}),
    "ModerationJournalFailing": Case(
        {"moderation_journal_failing" + A: "1x60"}, {"moderation_journal_failing" + A: "0x20 1 1 0x60"}
    ),
    "ModerationReviewsUnread": Case(
        {"moderation_reviews_unread" + A: "1x60"}, {"moderation_reviews_unread" + A: "0x20 1x10 0x60"}
    ),
}
