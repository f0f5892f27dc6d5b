package moderation.examples;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Sends chat events: {@code Produce CONVERSATION TEXT...}; prints a line of JSON for each one that Kafka has.
 *
 * <p>Environment: BOOTSTRAP_SERVERS, EVENTS_TOPIC.
 */
public final class Produce {

    private static final ObjectMapper JSON =
            new ObjectMapper().setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE);

    /** One input record: the last message is judged, those before it are its context. */
    record ChatEvent(String eventId, String conversationId, List<Message> messages, String occurredAt) {

        /** An event of one user message, with an id. Yours is the message's id in your database. */
        static ChatEvent of(String conversation, String text) {
            var messages = List.of(new Message("user", text));
            return new ChatEvent(UUID.randomUUID().toString(), conversation, messages, Instant.now().toString());
        }
    }

    /** One message; the role is user, assistant, tool or system. */
    record Message(String role, String content) {}

    /** Where Kafka has an event. */
    record Sent(String eventId, int partition, long offset) {}

    public static void main(String[] args) throws Exception {
        if (args.length < 2) {
            System.err.println("usage: Produce CONVERSATION TEXT...");
            System.exit(2);
        }
        produce(args[0], List.of(args).subList(1, args.length));
    }

    private static void produce(String conversation, List<String> texts) throws Exception {
        var topic = System.getenv().getOrDefault("EVENTS_TOPIC", "chat.events");
        Map<String, Future<RecordMetadata>> onTheirWay = new LinkedHashMap<>();
        try (var producer = new KafkaProducer<String, byte[]>(settings())) {
            for (var text : texts) {
                var event = ChatEvent.of(conversation, text);
                // The conversation is the key: its events stay in one partition, and so do their verdicts, in order.
                var record = new ProducerRecord<>(topic, conversation, JSON.writeValueAsBytes(event));
                onTheirWay.put(event.eventId(), producer.send(record));
            }
            producer.flush();
            for (var each : onTheirWay.entrySet()) {
                var place = each.getValue().get();
                var sent = new Sent(each.getKey(), place.partition(), place.offset());
                System.out.println(JSON.writeValueAsString(sent));
            }
        }
    }

    private static Properties settings() {
        var settings = new Properties();
        settings.put(
                ProducerConfig.BOOTSTRAP_SERVERS_CONFIG,
                System.getenv().getOrDefault("BOOTSTRAP_SERVERS", "localhost:9092"));
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true); // a retry makes no second event
        return settings;
    }

    private Produce() {}
}
