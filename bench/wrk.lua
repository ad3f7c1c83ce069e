-- The name in the URL is for SNI and Host; the proxy is on loopback, whatever a resolver says.
function wrk.resolve(host, service)
   wrk.addrs = wrk.lookup("127.0.0.1", service)
end

-- With a number as its argument, requests have a body of so many bytes.
function init(args)
   if args[1] then
      wrk.method = "POST"
      wrk.body = string.rep("u", tonumber(args[1]))
   end
end

-- One line that a program can read.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "microseconds": %d, "bytes": %d, "latency": [%d, %d, %d], "errors": ' ..
      '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
