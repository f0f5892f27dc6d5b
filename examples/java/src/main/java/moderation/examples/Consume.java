package moderation.examples;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Enforces verdicts; prints a line of JSON for each one, until SIGTERM or Ctrl-C.
 *
 * <p>Environment: BOOTSTRAP_SERVERS, VERDICT_TOPICS (comma-separated), GROUP_ID.
 */
public final class Consume {

    private static final Logger LOG = LoggerFactory.getLogger(Consume.class);
    private static final ObjectMapper JSON =
            new ObjectMapper().setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE);
    private static final String VERDICT_TOPICS =
            "moderation.verdicts.safe,moderation.verdicts.unsafe,moderation.verdicts.review";
    private static final int MOST_SEEN = 100_000;

    /** What the headers tell; the value (reasons, scores) need not be read. */
    record Verdict(
            String verdictId, String eventId, String label, List<String> categories, String action, String topic) {

        static Verdict of(ConsumerRecord<String, byte[]> record) {
            var label = header(record, "moderation-label");
            var categories = header(record, "moderation-categories");
            var action = switch (label) {
                case "safe" -> "show";
                case "unsafe" -> "remove";
                default -> "hold"; // review, and whatever a later version may say
            };
            return new Verdict(
                    header(record, "ce_id"),
                    header(record, "ce_subject"),
                    label,
                    categories.isEmpty() ? List.of() : List.of(categories.split(",")),
                    action,
                    record.topic());
        }

        private static String header(ConsumerRecord<?, ?> record, String name) {
            return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
        }
    }

    public static void main(String[] args) throws JsonProcessingException {
        var topics = List.of(System.getenv().getOrDefault("VERDICT_TOPICS", VERDICT_TOPICS).split(","));
        var stop = stopWith(Thread.currentThread());
        try (var consumer = new KafkaConsumer<String, byte[]>(settings())) {
            consumer.subscribe(topics);
            consume(consumer, seen(), stop);
        }
    }

    private static void consume(KafkaConsumer<String, byte[]> consumer, Set<String> seen, AtomicBoolean stop)
            throws JsonProcessingException {
        while (!stop.get()) {
            var records = consumer.poll(Duration.ofMillis(500));
            for (var record : records) {
                var verdict = Verdict.of(record);
                if (seen.contains(verdict.verdictId())) {
                    LOG.info("{} was there before", verdict.verdictId());
                    continue;
                }
                enforce(verdict);
                seen.add(verdict.verdictId()); // after it: what fails in between is enforced again, never skipped
            }
            if (!records.isEmpty()) {
                consumer.commitSync(); // after all of them were enforced
            }
        }
    }

    /** Does what follows from a verdict: here, it writes a line. */
    private static void enforce(Verdict verdict) throws JsonProcessingException {
        System.out.println(JSON.writeValueAsString(verdict));
    }

    /**
     * The latest ids, in memory. A real system has a unique key on verdict_id in its database instead, and enforces in
     * the same transaction: that holds over restarts, and between the consumers of a group.
     */
    private static Set<String> seen() {
        return Collections.newSetFromMap(new LinkedHashMap<>() {
            @Override
            protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                return size() > MOST_SEEN;
            }
        });
    }

    /** True from SIGTERM or Ctrl-C on; the process then ends when the thread does. */
    private static AtomicBoolean stopWith(Thread thread) {
        var stop = new AtomicBoolean();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.set(true);
            try {
                thread.join(); // what was polled is enforced and committed, and the consumer leaves its group
            } catch (InterruptedException cause) {
                Thread.currentThread().interrupt();
            }
        }));
        return stop;
    }

    private static Properties settings() {
        var environment = System.getenv();
        var settings = new Properties();
        settings.put(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG,
                environment.getOrDefault("BOOTSTRAP_SERVERS", "localhost:9092"));
        settings.put(ConsumerConfig.GROUP_ID_CONFIG, environment.getOrDefault("GROUP_ID", "enforcement"));
        settings.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        settings.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest"); // a new group misses nothing
        settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        return settings;
    }

    private Consume() {}
}
