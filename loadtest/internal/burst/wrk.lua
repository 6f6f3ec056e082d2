
-- What wrk runs: each thread counts its responses in globals of its own state, which hold numbers and strings only, as
-- these can be had from another state. At the end the sums are printed, as a line of JSON.
local most_nodes = 256
local threads = {}
local counters = {} -- names of globals, by status and by node
nodes = 0

function setup(thread)
   thread.addr = wrk.lookup(address, port)[1]
   thread:set("slot", #threads)
   threads[#threads + 1] = thread
end

if place ~= "" then
   local before, after
   local number = first

   function init()
      number = first + slot * 1e12
      local from, to = wrk.body:find(place, 1, true)
      local behind = #wrk.body - to
      wrk.body = wrk.body:sub(1, from - 1) .. string.format("%.0f", first) .. wrk.body:sub(to + 1)
      local whole = wrk.format()
      after = whole:sub(#whole - behind + 1)
      before = whole:sub(1, #whole - behind - 16)
   end

   function request()
      number = number + 1
      return before .. string.format("%.0f", number) .. after
   end
end

local function counter_of_node(name)
   if nodes >= most_nodes then
      return nil
   end
   nodes = nodes + 1
   _G["node_" .. nodes] = name:sub(1, 128):gsub("[^%w._:@/-]", "?")
   local counter = "count_" .. nodes
   counters[name] = counter
   _G[counter] = 0
   return counter
end

function response(status, headers)
   local counter = counters[status]
   if not counter then
      counter = "status_" .. status
      counters[status] = counter
      _G[counter] = 0
   end
   _G[counter] = _G[counter] + 1
   local name = headers["X-Served-By"] or headers["x-served-by"]
   if name and status >= 200 and status < 300 then
      counter = counters[name] or counter_of_node(name)
      if counter then
         _G[counter] = _G[counter] + 1
      end
   end
end

local function object(counts)
   local members = {}
   for name, count in pairs(counts) do
      members[#members + 1] = string.format('"%s":%.0f', name, count)
   end
   return "{" .. table.concat(members, ",") .. "}"
end

function done(summary, latency)
   local statuses, names = {}, {}
   for _, thread in ipairs(threads) do
      for status = 0, 999 do
         local count = thread:get("status_" .. status)
         if count then
            statuses[status] = (statuses[status] or 0) + count
         end
      end
      for i = 1, thread:get("nodes") do
         local name = thread:get("node_" .. i)
         names[name] = (names[name] or 0) + thread:get("count_" .. i)
      end
   end
   local l = {}
   if summary.requests > 0 and latency.max > 0 then
      l = {
         min = latency.min, mean = latency.mean, max = latency.max,
         p50 = latency:percentile(50), p90 = latency:percentile(90), p99 = latency:percentile(99), p999 = latency:percentile(99.9),
      }
   end
   local e = summary.errors
   io.write(string.format('\n{"burst":1,"took_us":%.0f,"requests":%.0f,"bytes":%.0f,"errors":%s,"statuses":%s,"nodes":%s,"latency_us":%s}\n',
      summary.duration, summary.requests, summary.bytes,
      object({connect = e.connect, read = e.read, write = e.write, timeout = e.timeout}), object(statuses), object(names), object(l)))
end
