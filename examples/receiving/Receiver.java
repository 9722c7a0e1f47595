// A receiver of callbacks: verifies each request, and keeps its body in a folder for a worker of yours.
//
//     SIGNING_KEYS='whsec_...' INBOX=/var/lib/inbox java Receiver.java [PORT]
//
// Java 17 or newer, its standard library only. Several keys are separated by spaces. In a servlet or a Spring
// controller take the body as byte[], not as an object or a String.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final long TOLERANCE = 5 * 60; // seconds: an older request may be a recorded one
    static final int MAX_BODY = 2 * 1024 * 1024; // bytes: callbacks have less

    /** The secrets of the keys. With an empty secret, anybody could sign: such a program must not start. */
    static List<byte[]> keysIn(String text) {
        List<byte[]> secrets = new ArrayList<>();
        for (String key : text.strip().split("\\s+")) {
            byte[] secret = key.startsWith("whsec_") ? Base64.getDecoder().decode(key.substring(6)) : new byte[0];
            if (secret.length < 24) {
                throw new IllegalArgumentException("SIGNING_KEYS must be keys that begin with whsec_");
            }
            secrets.add(secret);
        }
        return secrets;
    }

    /** Why a request is no callback; null if it is one. `body`: the bytes as they came, before any parsing. */
    static String refusal(String id, String timestamp, String signatures, byte[] body, List<byte[]> keys, long now)
            throws GeneralSecurityException {
        if (id == null || timestamp == null || signatures == null || !id.matches("[\\w.-]{1,100}")) {
            return "not signed";
        }
        boolean genuine = false;
        for (byte[] key : keys) {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
            String wanted = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
            for (String signature : signatures.split(" ")) { // several while a key is being changed
                genuine |= MessageDigest.isEqual(bytes(wanted), bytes(signature)); // in constant time
            }
        }
        if (!genuine) {
            return "made with another key, or the body was changed";
        }
        if (!timestamp.matches("[0-9]{1,10}") || Math.abs(now - Long.parseLong(timestamp)) > TOLERANCE) {
            return "made more than five minutes ago, or ahead of this clock";
        }
        return null;
    }

    /**
     * Hands the callback over to a worker, once. Throws if it cannot: then the callback comes again.
     *
     * <p>The worker empties a file when it has done what it says, and removes it after three days: until then, the same
     * callback can come again. A table with the id as its primary key does the same.
     */
    static void keep(Path inbox, String id, byte[] body) throws IOException {
        Path file = inbox.resolve(id + ".json");
        if (Files.exists(file)) {
            return;
        }
        Path part = Files.createTempFile(inbox, "part-", "");
        Files.write(part, body);
        Files.move(part, file, StandardCopyOption.ATOMIC_MOVE); // now it is there as a whole
    }

    static void receive(HttpExchange exchange, List<byte[]> keys, Path inbox) throws IOException {
        try {
            byte[] body = exchange.getRequestBody().readNBytes(MAX_BODY + 1);
            if (body.length > MAX_BODY) {
                answer(exchange, 413, "a body of at most 2 MiB");
                return;
            }
            if (new String(body, StandardCharsets.ISO_8859_1).strip().equals("[]")) {
                answer(exchange, 204, ""); // the URL verification: it carries nothing, and no key is known yet
                return;
            }
            var headers = exchange.getRequestHeaders();
            String id = headers.getFirst("webhook-id");
            String why = refusal(id, headers.getFirst("webhook-timestamp"), headers.getFirst("webhook-signature"),
                    body, keys, Instant.now().getEpochSecond());
            if (why != null) { // not 4xx: with a wrong key here, messages would be lost
                answer(exchange, 503, "not verified: " + why);
                return;
            }
            keep(inbox, id, body);
            answer(exchange, 204, "");
        } catch (Exception error) {
            error.printStackTrace();
            answer(exchange, 500, "not kept: send it again");
        }
    }

    static void answer(HttpExchange exchange, int status, String text) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", "text/plain");
        exchange.sendResponseHeaders(status, text.isEmpty() ? -1 : text.length());
        exchange.getResponseBody().write(bytes(text));
        exchange.close();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws IOException {
        List<byte[]> keys = keysIn(System.getenv().getOrDefault("SIGNING_KEYS", ""));
        Path inbox = Path.of(System.getenv("INBOX"));
        int port = args.length > 0 ? Integer.parseInt(args[0]) : 9000;
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/", exchange -> receive(exchange, keys, inbox));
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
