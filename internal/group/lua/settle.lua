-- settle is settle_range of the fragment range.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> v:<group>:<bucket> i:<group>:<chunk> z:<group> m:<group> outbox open h:<worker>
-- ARGV  of an item: group range number worker runs blob counts failed-index failed-state failure
-- ANSWER {ok, 0|1 outbox, hand-over… of those that it made room for} · {fenced, 0} the range is not this worker's any more · {gone, 0}
local function item(...) return with_issued({settle_range(...)}) end
