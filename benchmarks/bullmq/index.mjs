// One delivery is one BullMQ job. `work` sends it with undici and, if DATABASE_URL is set, writes one row for it.
//   node index.mjs enqueue COUNT URL SIZE    node index.mjs work
import { randomUUID } from 'node:crypto'
import { Queue, Worker } from 'bullmq'
import pg from 'pg'
import { Agent, setGlobalDispatcher, request } from 'undici'

const NAME = 'deliveries'
const broker = new URL(process.env.BROKER_URL)
const connection = {
  host: broker.hostname,
  port: Number(broker.port),
  password: decodeURIComponent(broker.password),
  maxRetriesPerRequest: null,
}

async function enqueue(count, url, size) {
  const queue = new Queue(NAME, { connection })
  const options = { attempts: 5, backoff: { type: 'exponential', delay: 1000 }, removeOnComplete: true }
  const body = JSON.stringify({ text: 'x'.repeat(size - 11) }) // {"text":""} has 11 bytes
  for (let done = 0; done < count; done += 1000) {
    const jobs = Array.from({ length: Math.min(1000, count - done) }, () => ({
      name: 'deliver',
      data: { id: randomUUID(), url, body },
      opts: options,
    }))
    await queue.addBulk(jobs)
  }
  await queue.close()
}

function work() {
  setGlobalDispatcher(new Agent({ connections: 100, pipelining: 1, headersTimeout: 30_000, bodyTimeout: 30_000 }))
  const pool = process.env.DATABASE_URL && new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 })
  const deliver = async (job) => {
    const began = performance.now()
    const { statusCode, body } = await request(job.data.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-delivery-id': job.data.id },
      body: job.data.body,
    })
    await body.dump()
    if (pool) {
      await pool.query({
        name: 'attempt',
        text: 'INSERT INTO bullmq.attempts (delivery_id, number, status, duration_ms) VALUES ($1, $2, $3, $4)',
        values: [job.data.id, job.attemptsMade + 1, statusCode, Math.round(performance.now() - began)],
      })
    }
    if (statusCode >= 300) throw new Error(`status ${statusCode}`)
  }
  new Worker(NAME, deliver, { connection, concurrency: 100 }).on('error', (error) => console.error(error.message))
}

const [command, count, url, size] = process.argv.slice(2)
if (command === 'enqueue') await enqueue(Number(count), url, Number(size))
else work()
