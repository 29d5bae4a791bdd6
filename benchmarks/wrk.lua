-- Sends the requests of the file given after "--" in turn (NUL between two of them; written by
-- benchmarks/requests.py, so that wrk and benchmarks/load.py send the same bytes) and prints one
-- line of figures for benchmarks/wrk.py.

local requests = {}
local count = 0
local turn = 0

function init(args)
    local file = assert(io.open(args[1], "rb"))
    for one in file:read("*a"):gmatch("[^%z]+") do
        count = count + 1
        requests[count] = one
    end
    file:close()
end

function request()
    turn = turn % count + 1
    return requests[turn]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("FIGURES %d %d %d %d %d\n",
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
