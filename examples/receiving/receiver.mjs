// A receiver of callbacks: verifies each request, and keeps its body in a folder for a worker of yours.
//
//     SIGNING_KEYS='whsec_...' INBOX=/var/lib/inbox node receiver.mjs [PORT]
//
// Node 18 or newer, no packages. Several keys are separated by spaces. With Express, put
// `express.raw({type: '*/*', limit: '2mb'})` before the route: `request.body` is then the bytes as they came.

import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';

const TOLERANCE = 5 * 60; // seconds: an older request may be a recorded one
const MAX_BODY = 2 * 1024 * 1024; // bytes: callbacks have less

// The secrets of the keys. With an empty secret, anybody could sign: such a program must not start.
function keysIn(text) {
  const secrets = text.split(' ').filter(Boolean).map((key) => {
    const secret = Buffer.from(key.replace(/^whsec_/, ''), 'base64');
    if (!key.startsWith('whsec_') || secret.length < 24) throw new Error('SIGNING_KEYS has something that is no key');
    return secret;
  });
  if (secrets.length === 0) throw new Error('SIGNING_KEYS must be keys that begin with whsec_, separated by spaces');
  return secrets;
}

// Why a request is no callback; null if it is one. `body`: the bytes as they came, before any parsing.
function refusal(headers, body, keys, now) {
  const id = headers['webhook-id'] ?? '';
  const timestamp = headers['webhook-timestamp'] ?? '';
  const signatures = headers['webhook-signature'] ?? '';
  if (!/^[\w.-]{1,100}$/.test(id) || !timestamp || !signatures) return 'not signed';
  const wanted = keys.map((key) => createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest());
  const genuine = signatures.split(' ').some((signature) => { // several while a key is being changed
    const [version, encoded] = signature.split(',', 2);
    const made = Buffer.from(encoded ?? '', 'base64');
    return version === 'v1' && wanted.some((ours) => made.length === ours.length && timingSafeEqual(ours, made));
  });
  if (!genuine) return 'made with another key, or the body was changed';
  if (!/^[0-9]{1,10}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE) {
    return 'made more than five minutes ago, or ahead of this clock';
  }
  return null;
}

// Hands the callback over to a worker, once. Throws if it cannot: then the callback comes again.
//
// The worker empties a file when it has done what it says, and removes it after three days: until then, the same
// callback can come again. A table with the id as its primary key does the same.
async function keep(inbox, id, body) {
  const file = join(inbox, `${id}.json`);
  if (existsSync(file)) return;
  const part = join(inbox, `part-${randomUUID()}`);
  await writeFile(part, body);
  await rename(part, file); // now it is there as a whole
}

// What to answer: a status, and a text for whoever looks after the webhook.
async function receive(request, keys, inbox) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY) return [413, 'a body of at most 2 MiB'];
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  // The URL verification: it carries nothing, and no key is known yet.
  if (body.toString('latin1').trim() === '[]') return [204];
  const why = refusal(request.headers, body, keys, Date.now() / 1000);
  if (why !== null) return [503, `not verified: ${why}`]; // not 4xx: with a wrong key here, messages would be lost
  await keep(inbox, request.headers['webhook-id'], body);
  return [204];
}

const keys = keysIn(process.env.SIGNING_KEYS ?? '');
const inbox = process.env.INBOX;
if (!inbox) throw new Error('INBOX is not set');
createServer(async (request, response) => {
  const [status, text] = await receive(request, keys, inbox).catch((error) => {
    console.error(error);
    return [500, 'not kept: send it again'];
  });
  response.writeHead(status, { 'Content-Type': 'text/plain' }).end(text);
}).listen(Number(process.argv[2] ?? 9000), '127.0.0.1');
