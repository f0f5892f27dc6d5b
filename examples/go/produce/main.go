// Command produce sends chat events: produce CONVERSATION TEXT...
// It prints a line of JSON for each one that Kafka has.
//
// Environment: BOOTSTRAP_SERVERS, EVENTS_TOPIC.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ChatEvent is one input record: the last message is judged, those before it are its context.
type ChatEvent struct {
	EventID        string    `json:"event_id"` // yours: the message's id in your database
	ConversationID string    `json:"conversation_id"`
	Messages       []Message `json:"messages"`
	OccurredAt     time.Time `json:"occurred_at"`
}

// Message is one message of the conversation; Role is user, assistant, tool or system.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Sent says where Kafka has an event.
type Sent struct {
	EventID   string `json:"event_id"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: produce CONVERSATION TEXT...")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := produce(ctx, os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func produce(ctx context.Context, conversation string, texts []string) error {
	// franz-go's producer is idempotent and waits for all replicas unless told otherwise.
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(cmp.Or(os.Getenv("BOOTSTRAP_SERVERS"), "localhost:9092"), ",")...),
		kgo.DefaultProduceTopic(cmp.Or(os.Getenv("EVENTS_TOPIC"), "chat.events")),
	)
	if err != nil {
		return err
	}
	defer client.Close()

	ids := make(map[*kgo.Record]string, len(texts))
	records := make([]*kgo.Record, 0, len(texts))
	for _, text := range texts {
		event := ChatEvent{
			EventID:        rand.Text(),
			ConversationID: conversation,
			Messages:       []Message{{Role: "user", Content: text}},
			OccurredAt:     time.Now(),
		}
		value, err := json.Marshal(event)
		if err != nil {
			return err
		}
		// The conversation is the key: its events stay in one partition, and so do their verdicts, in order.
		record := &kgo.Record{Key: []byte(conversation), Value: value}
		ids[record] = event.EventID
		records = append(records, record)
	}

	out := json.NewEncoder(os.Stdout)
	for _, result := range client.ProduceSync(ctx, records...) {
		if result.Err != nil {
			return fmt.Errorf("event %s: %w", ids[result.Record], result.Err)
		}
		sent := Sent{ids[result.Record], result.Record.Partition, result.Record.Offset}
		if err := out.Encode(sent); err != nil {
			return err
		}
	}
	return nil
}
