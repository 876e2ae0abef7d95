import io.apicurio.registry.serde.avro.AvroKafkaDeserializer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** Reads a topic of Otter with Apicurio's Avro deserialiser, to its present end: Read BROKERS REGISTRY_URL TOKEN TOPIC. */
public final class Read {
  public static void main(String[] arguments) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", arguments[0]);
    settings.put("isolation.level", "read_committed");
    settings.put("enable.auto.commit", "false");
    settings.put("key.deserializer", AvroKafkaDeserializer.class.getName());
    settings.put("value.deserializer", AvroKafkaDeserializer.class.getName());
    settings.put("apicurio.registry.url", arguments[1]); // http://otter:8010/registry/apis/registry/v2
    settings.put("apicurio.auth.username", "java");
    settings.put("apicurio.auth.password", arguments[2]);
    // Confluent's framing: a magic byte and four bytes of id
    settings.put("apicurio.registry.as-confluent", "true");
    settings.put("apicurio.registry.use-id", "contentId");
    TopicPartition partition = new TopicPartition(arguments[3], 0);
    Map<Object, GenericRecord> rows = new HashMap<>();
    Map<String, Integer> operations = new TreeMap<>();
    long ordinal = -1;
    try (KafkaConsumer<GenericRecord, GenericRecord> consumer = new KafkaConsumer<>(settings)) {
      consumer.assign(List.of(partition));
      consumer.seekToBeginning(List.of(partition));
      long end = consumer.endOffsets(List.of(partition)).get(partition);
      while (consumer.position(partition) < end) {
        for (ConsumerRecord<GenericRecord, GenericRecord> record : consumer.poll(Duration.ofSeconds(1))) {
          GenericRecord event = record.value();
          long next = (Long) ((GenericRecord) event.get("source")).get("ordinal");
          if (next <= ordinal) {
            continue; // a repeat
          }
          ordinal = next;
          Object key = record.key().get("id");
          operations.merge(event.get("op").toString(), 1, Integer::sum);
          if (event.get("after") == null) {
            rows.remove(key);
          } else {
            rows.put(key, (GenericRecord) event.get("after"));
          }
        }
      }
    }
    long sum = rows.values().stream().mapToLong(row -> row.get("big") == null ? 0 : (Long) row.get("big")).sum();
    System.out.println(rows.size() + "\t" + sum + "\t" + operations);
  }
}
