# A receiver of callbacks: verifies each request, and keeps its body in a folder for a worker of yours.
#
#     SIGNING_KEYS='whsec_...' INBOX=/var/lib/inbox rackup --port 9000 receiver.ru
#
# Ruby 3.0 or newer and Rack, which Rails and Sinatra bring. Several keys are separated by spaces. In a controller of
# Rails, `request.raw_post` is the body as it came.

require "openssl"
require "securerandom"

TOLERANCE = 5 * 60 # seconds: an older request may be a recorded one
MAX_BODY = 2 * 1024 * 1024 # bytes: callbacks have less

# The secrets of the keys. With an empty secret, anybody could sign: such a program must not start.
def keys_in(text)
  secrets = text.split.map { |key| key.start_with?("whsec_") ? key.delete_prefix("whsec_").unpack1("m") : "" }
  if secrets.empty? || secrets.any? { |secret| secret.bytesize < 24 }
    abort "SIGNING_KEYS must be keys that begin with whsec_, separated by spaces"
  end
  secrets
end

# Why a request is no callback; nil if it is one. `body`: the bytes as they came, before any parsing.
def refusal(id, timestamp, signatures, body, keys, now)
  return "not signed" unless id.match?(/\A[\w.-]{1,100}\z/) && timestamp != "" && signatures != ""

  genuine = keys.any? do |key|
    wanted = "v1," + [OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{timestamp}.".b + body)].pack("m0")
    signatures.split(" ").any? do |signature| # several while a key is being changed
      OpenSSL.secure_compare(wanted, signature) # in constant time
    end
  end
  return "made with another key, or the body was changed" unless genuine

  unless timestamp.match?(/\A[0-9]{1,10}\z/) && (now - timestamp.to_i).abs <= TOLERANCE
    return "made more than five minutes ago, or ahead of this clock"
  end
  nil
end

# Hands the callback over to a worker, once. Raises if it cannot: then the callback comes again.
#
# The worker empties a file when it has done what it says, and removes it after three days: until then, the same
# callback can come again. A table with the id as its primary key does the same.
def keep(inbox, id, body)
  file = File.join(inbox, "#{id}.json")
  return if File.exist?(file)

  part = File.join(inbox, "part-#{SecureRandom.hex}")
  File.binwrite(part, body)
  File.rename(part, file) # now it is there as a whole
end

# What to answer: a status, and a text for whoever looks after the webhook.
def receive(env, keys, inbox)
  body = (env["rack.input"]&.read(MAX_BODY + 1) || "").b
  return [413, "a body of at most 2 MiB"] if body.bytesize > MAX_BODY
  return [204, ""] if body.strip == "[]" # the URL verification: it carries nothing, and no key is known yet

  id, timestamp, signatures = %w[ID TIMESTAMP SIGNATURE].map { |name| env.fetch("HTTP_WEBHOOK_#{name}", "").b }
  why = refusal(id, timestamp, signatures, body, keys, Time.now.to_i)
  return [503, "not verified: #{why}"] if why # not 4xx: with a wrong key here, messages would be lost

  keep(inbox, id, body)
  [204, ""]
rescue SystemCallError => error
  warn error.message
  [500, "not kept: send it again"]
end

keys, inbox = keys_in(ENV.fetch("SIGNING_KEYS", "")), ENV.fetch("INBOX")
run lambda { |env|
  status, text = receive(env, keys, inbox)
  status == 204 ? [204, {}, []] : [status, { "content-type" => "text/plain" }, [text]]
}
