"""Ids that the database makes, with its own time: for whoever has a connection and nothing else."""

# A UUIDv7 as `dispatcher.ids` makes them: milliseconds, their fraction in 12 bits, random bits. In one statement, all
# can have the same time.
NEW_ID = """CAST(encode(
  (SELECT int8send((us / 1000 << 16) | (7 << 12) | (mod(us, 1000) * 4096 / 1000))
   FROM (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS us) moment)
  || substring(uuid_send(gen_random_uuid()) FROM 9), 'hex') AS uuid)"""
