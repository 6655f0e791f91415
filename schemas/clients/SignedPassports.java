// Publishes one signed command and prints its answer. Java 17 or later, and org.apache.kafka:kafka-clients:4.3.1 (pom.xml):
//   mvn -q dependency:copy-dependencies -DoutputDirectory=libs
//   java -cp 'libs/*' SignedPassports.java
// Signing needs nothing but the JDK.

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class SignedPassports {
    static final String SERVERS = System.getenv().getOrDefault("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092");
    static final Path PRIVATE_KEY = Path.of(needed("PASSPORT_SIGNING_KEY")); // PEM: passport-worker keys generate
    static final String KEY_ID = needed("PASSPORT_SIGNING_KID"); // the "kid" that it prints
    static final String ALGORITHM = System.getenv().getOrDefault("PASSPORT_SIGNING_ALG", "EdDSA"); // or ES256, of P-256
    // Names of topics, which begin with the name of your channel if you have one: acme.dpp.passport.create.v1.
    static final String COMMANDS = topic("COMMANDS", "dpp.passport.create.v1");
    static final List<String> RESULTS = List.of(topic("CREATED", "dpp.passport.created.v1"),
            topic("OVERAGE_REQUIRED", "dpp.passport.overage-required.v1"),
            topic("CONFLICT", "dpp.passport.conflict.v1"), topic("REJECTED", "dpp.passport.rejected.v1"));
    static final String AUDIENCE = COMMANDS; // unless the operator names another
    static final String GTIN = "04012345000016";

    static String needed(String name) {
        return Objects.requireNonNull(System.getenv(name), name + " is not set");
    }

    static String topic(String name, String usual) {
        return System.getenv().getOrDefault("PASSPORT_TOPIC_" + name, usual);
    }

    static PrivateKey privateKey() throws Exception {
        var pem = Files.readString(PRIVATE_KEY).replaceAll("-----[A-Z ]+-----", "");
        var spec = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem));
        return KeyFactory.getInstance(ALGORITHM.equals("ES256") ? "EC" : "Ed25519").generatePrivate(spec);
    }

    static String base64url(byte[] bytes) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
    }

    // Key and serial number must need no escapes in JSON.
    static byte[] signature(byte[] value, String idempotencyKey) throws Exception {
        var header = "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"dpp-command+jwt\"}".formatted(ALGORITHM, KEY_ID);
        var claims = "{\"aud\":\"%s\",\"exp\":%d,\"key\":\"%s\",\"sha256\":\"%s\"}".formatted(AUDIENCE,
                Instant.now().getEpochSecond() + 3600, idempotencyKey,
                base64url(MessageDigest.getInstance("SHA-256").digest(value)));
        var signed = base64url(header.getBytes(UTF_8)) + "." + base64url(claims.getBytes(UTF_8));
        var signer = Signature.getInstance(ALGORITHM.equals("ES256") ? "SHA256withECDSAinP1363Format" : "Ed25519");
        signer.initSign(privateKey());
        signer.update(signed.getBytes(UTF_8));
        return (signed + "." + base64url(signer.sign())).getBytes(UTF_8);
    }

    // Returns the place of the command. Its result has that place in ce_causationid.
    static String produce(String key, String serial) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", SERVERS, "enable.idempotence", true, "acks", "all");
        var value = """
                {"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": {"gtin": "%s", "serialNumber": "%s"}}
                """.formatted(GTIN, serial).getBytes(UTF_8);
        var command = new ProducerRecord<>(COMMANDS, GTIN, value);
        command.headers().add("jws-signature", signature(value, key));
        command.headers().add("idempotency-key", key.getBytes(UTF_8));
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer())) {
            var sent = producer.send(command).get();
            return sent.topic() + "/" + sent.partition() + "/" + sent.offset();
        }
    }

    // Reads from the end on: it meets no earlier answers. A service that wants all: schemas/read-results.md.
    static KafkaConsumer<String, String> resultsFromHere() {
        Map<String, Object> config = Map.of("bootstrap.servers", SERVERS, "isolation.level", "read_committed");
        var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        var logs = RESULTS.stream().flatMap(topic -> consumer.partitionsFor(topic, Duration.ofSeconds(10)).stream())
                .map(log -> new TopicPartition(log.topic(), log.partition())).toList();
        consumer.assign(logs);
        consumer.seekToEnd(logs);
        logs.forEach(consumer::position); // the client seeks only now
        return consumer;
    }

    static String header(ConsumerRecord<String, String> result, String name) {
        var header = result.headers().lastHeader(name);
        return header == null ? "" : new String(header.value(), UTF_8);
    }

    static void printAnswer(KafkaConsumer<String, String> results, String key, String place) {
        while (true) {
            for (var result : results.poll(Duration.ofSeconds(1))) {
                if (header(result, "ce_causationid").equals(place)) { // others may use the same key
                    var outcome = header(result, "ce_type");
                    System.out.println(key + " " + outcome + " " + result.value());
                    return;
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        var serial = arguments.length > 0 ? arguments[0] : "BP-" + UUID.randomUUID().toString().substring(0, 13);
        var key = GTIN + "-" + serial; // made from the unit: a program that starts again sends the same key
        try (var results = resultsFromHere()) { // before the command is sent, so that its answer lies behind
            var place = produce(key, serial);
            printAnswer(results, key, place);
        } catch (KafkaException error) { // it has no stack trace, and `java` with a source file fails at such ones
            System.err.println(SERVERS + ": " + error);
            System.exit(1);
        }
    }
}
