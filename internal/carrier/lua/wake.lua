-- wake rings one worker's own bell for no queue, so that it stops waiting.
-- KEYS    1 the worker's own bell
-- ARGV    1 how long it rings, in ms
-- ANSWER  1
redis.call('LPUSH', KEYS[1], '0')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
