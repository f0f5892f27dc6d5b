// Command consume enforces verdicts. It prints a line of JSON for each one, until SIGTERM or Ctrl-C.
//
// Environment: BOOTSTRAP_SERVERS, VERDICT_TOPICS (comma-separated), GROUP_ID.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	verdictTopics = "moderation.verdicts.safe,moderation.verdicts.unsafe,moderation.verdicts.review"
	mostSeen      = 100_000
)

// Verdict is what the headers tell; the value (reasons, scores) need not be read.
type Verdict struct {
	VerdictID  string   `json:"verdict_id"`
	EventID    string   `json:"event_id"`
	Label      string   `json:"label"`
	Categories []string `json:"categories"`
	Action     string   `json:"action"`
	Topic      string   `json:"topic"`
}

// seen holds the latest ids, in memory. A real system has a unique key on verdict_id in its database instead, and
// enforces in the same transaction: that holds over restarts, and between the consumers of a group.
type seen struct {
	ids    map[string]struct{}
	oldest []string // a ring
	next   int
}

func newSeen(most int) *seen {
	return &seen{ids: make(map[string]struct{}, most), oldest: make([]string, most)}
}

func (s *seen) has(id string) bool {
	_, found := s.ids[id]
	return found
}

func (s *seen) add(id string) {
	delete(s.ids, s.oldest[s.next])
	s.oldest[s.next] = id
	s.next = (s.next + 1) % len(s.oldest)
	s.ids[id] = struct{}{}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, newSeen(mostSeen), enforce); err != nil {
		log.Fatal(err)
	}
}

// consume enforces verdicts until ctx ends.
func consume(ctx context.Context, seen *seen, enforce func(Verdict) error) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(cmp.Or(os.Getenv("BOOTSTRAP_SERVERS"), "localhost:9092"), ",")...),
		kgo.ConsumeTopics(strings.Split(cmp.Or(os.Getenv("VERDICT_TOPICS"), verdictTopics), ",")...),
		kgo.ConsumerGroup(cmp.Or(os.Getenv("GROUP_ID"), "enforcement")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // a new group misses nothing
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // no partition goes away between the poll and its commit
	)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()

	for {
		fetches := client.PollRecords(ctx, 500) // as many as are enforced within seconds
		if ctx.Err() != nil {
			return nil // what was fetched is not committed: it comes again
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for record := range fetches.RecordsAll() {
			verdict, err := verdictOf(record)
			if err != nil {
				return err
			}
			if seen.has(verdict.VerdictID) {
				log.Printf("%s was there before", verdict.VerdictID)
				continue
			}
			if err := enforce(verdict); err != nil {
				return fmt.Errorf("verdict %s: %w", verdict.VerdictID, err)
			}
			seen.add(verdict.VerdictID) // after it: what fails in between is enforced again, never skipped
		}
		// After all of them were enforced, also where a signal has come meanwhile.
		if err := client.CommitUncommittedOffsets(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		client.AllowRebalance()
	}
}

func verdictOf(record *kgo.Record) (Verdict, error) {
	verdict := Verdict{Topic: record.Topic, Categories: []string{}}
	for _, header := range record.Headers {
		switch value := string(header.Value); header.Key {
		case "ce_id":
			verdict.VerdictID = value
		case "ce_subject":
			verdict.EventID = value
		case "moderation-label":
			verdict.Label = value
		case "moderation-categories":
			if value != "" {
				verdict.Categories = strings.Split(value, ",")
			}
		}
	}
	if verdict.VerdictID == "" || verdict.Label == "" {
		return verdict, fmt.Errorf("%s/%d/%d is no verdict", record.Topic, record.Partition, record.Offset)
	}
	return verdict, nil
}

// enforce does what follows from a verdict: here, it writes a line.
func enforce(verdict Verdict) error {
	switch verdict.Label {
	case "safe":
		verdict.Action = "show"
	case "unsafe":
		verdict.Action = "remove"
	default: // review, and whatever a later version may say
		verdict.Action = "hold"
	}
	return json.NewEncoder(os.Stdout).Encode(verdict)
}
