<?php
// A receiver of callbacks: verifies each request, and keeps its body in a folder for a worker of yours.
//
//     SIGNING_KEYS='whsec_...' INBOX=/var/lib/inbox php -S 127.0.0.1:9000 receiver.php
//
// Behind a web server it is the script of the webhook's URL, and both are set there: with PHP-FPM as
// `env[SIGNING_KEYS] = "whsec_..."` in the pool's file, with Apache by SetEnv. PHP 8.0 or newer, no extensions. Several
// keys are separated by spaces. In Symfony and Laravel `$request->getContent()` is the body as it came.

declare(strict_types=1);

const TOLERANCE = 5 * 60; // seconds: an older request may be a recorded one
const MAX_BODY = 2 * 1024 * 1024; // bytes: callbacks have less

// The secrets of the keys. With an empty secret, anybody could sign.
function keys_in(string $text): array
{
    $secrets = [];
    foreach (preg_split('/\s+/', $text, -1, PREG_SPLIT_NO_EMPTY) as $key) {
        $secret = str_starts_with($key, 'whsec_') ? base64_decode(substr($key, 6), true) : false;
        if ($secret === false || strlen($secret) < 24) {
            throw new RuntimeException('SIGNING_KEYS has something that is no key');
        }
        $secrets[] = $secret;
    }
    if (!$secrets) {
        throw new RuntimeException('SIGNING_KEYS must be keys that begin with whsec_, separated by spaces');
    }
    return $secrets;
}

// Why a request is no callback; null if it is one. $headers: by names in lower case. $body: the bytes as they came,
// before any parsing.
function refusal(array $headers, string $body, array $keys, int $now): ?string
{
    $id = $headers['webhook-id'] ?? '';
    $timestamp = $headers['webhook-timestamp'] ?? '';
    $signatures = $headers['webhook-signature'] ?? '';
    if (!preg_match('/^[\w.-]{1,100}$/D', $id) || $timestamp === '' || $signatures === '') {
        return 'not signed';
    }
    $genuine = false;
    foreach ($keys as $key) {
        $wanted = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
        foreach (explode(' ', $signatures) as $signature) { // several while a key is being changed
            $genuine = hash_equals($wanted, $signature) || $genuine;
        }
    }
    if (!$genuine) {
        return 'made with another key, or the body was changed';
    }
    if (!preg_match('/^[0-9]{1,10}$/D', $timestamp) || abs($now - (int) $timestamp) > TOLERANCE) {
        return 'made more than five minutes ago, or ahead of this clock';
    }
    return null;
}

// Hands the callback over to a worker, once. Throws if it cannot: then the callback comes again.
//
// The worker empties a file when it has done what it says, and removes it after three days: until then, the same
// callback can come again. A table with the id as its primary key does the same.
function keep(string $inbox, string $id, string $body): void
{
    $file = "$inbox/$id.json";
    if (file_exists($file)) {
        return;
    }
    $part = "$inbox/part-" . bin2hex(random_bytes(16));
    if (file_put_contents($part, $body) !== strlen($body) || !rename($part, $file)) { // now it is there as a whole
        throw new RuntimeException("cannot write into $inbox");
    }
}

// What to answer: a status, and a text for whoever looks after the webhook.
function receive(array $headers, string $body): array
{
    if (strlen($body) > MAX_BODY) {
        return [413, 'a body of at most 2 MiB'];
    }
    if (trim($body) === '[]') {
        return [204, '']; // the URL verification: it carries nothing, and no key is known yet
    }
    $why = refusal($headers, $body, keys_in((string) getenv('SIGNING_KEYS')), time());
    if ($why !== null) {
        return [503, "not verified: $why"]; // not 4xx: with a wrong key here, messages would be lost
    }
    keep(getenv('INBOX') ?: throw new RuntimeException('INBOX is not set'), $headers['webhook-id'], $body);
    return [204, ''];
}

http_response_code(500); // first of all: where errors are displayed, PHP answers 200 after one that nothing catches
ini_set('display_errors', '0');
try {
    $headers = array_change_key_case(getallheaders());
    [$status, $text] = receive($headers, file_get_contents('php://input', false, null, 0, MAX_BODY + 1));
} catch (Throwable $error) {
    error_log($error->getMessage());
    [$status, $text] = [500, 'not kept: send it again'];
}
header('Content-Type: text/plain');
http_response_code($status);
echo $text;
