package main

// mutant is a fault: fault in place of is, which stands once in the file, turns the test of pkg red.
type mutant struct {
	name, file, is, fault, pkg, test string
}

var mutants = []mutant{
	{
		"settle skips the fence", "internal/record/lua/settle.lua",
		"if f[2] ~= number or f[3] ~= worker then return {'fenced'} end", "",
		"./internal/record", "TestDecision02_RecordIsTheModel",
	},
	{
		"a give-back skips the fence", "internal/record/lua/giveback.lua",
		"if t.n ~= ARGV[2] or t.h ~= ARGV[3] then return {'fenced'} end", "",
		"./internal/record", "TestDecision02_RecordIsTheModel",
	},
	{
		"a range settles under any number", "internal/group/lua/range.lua",
		"if not p then return 'fenced', 0 end", "p = p or split(redis.call('HGET', k_ranges(gid), rid) or '', ';')",
		"./internal/group", "TestDecision02_AStaleRangeWritesNothing",
	},
	{
		"a hand-over keeps its number", "internal/record/lua/task.lua",
		"local n = redis.call('HINCRBY', k_record(id), 'n', 1)", "local n = num(t.n)",
		"./internal/record", "TestDecision02_RecordIsTheModel",
	},
	{
		"a re-delivery is charged as an attempt", "internal/group/lua/reap.lua",
		"local h = hand_over(id, t, now)", "redis.call('HINCRBY', k_record(id), 'at', 1)\n  local h = hand_over(id, t, now)",
		"./internal/group", "TestDecision05_OnlyACrashAsSuspectEndsATask",
	},
	{
		"reaping without compare-and-set", "internal/group/lua/reap.lua",
		"if not t or FINAL[t.s] or t.h ~= worker then return end", "if not t or FINAL[t.s] then return end",
		"./internal/group", "TestReapForgetsWhatIsNotHeld",
	},
	{
		"a revived worker is reaped", "internal/group/lua/reap.lua",
		"if revived and tonumber(revived) >= tonumber(beat) then return {'revived'} end", "",
		"./internal/group", "TestDecision01_ADeathThatWasNoneIsUndone",
	},
	{
		"a draining worker's death is charged", "internal/fleet/reaper.go",
		"d.Charged = !word.draining", "d.Charged = true",
		"./internal/fleet", "TestDecision05_WhoWasDrainingChargesNothing",
	},
	{
		"a subscription is no sign of life", "internal/fleet/reaper.go",
		"		if n > 0 {\n			return nil\n		}", "		_ = n",
		"./internal/fleet", "TestDecision01_WhoIsListenedForIsNotDead",
	},
	{
		"a gap in one's own reads counts as silence", "internal/fleet/silence.go",
		"> readsApart || jumped", "< 0 || jumped",
		"./internal/fleet", "TestDecision01_AGapCountsForLittle",
	},
	{
		"a suspect begins before the end of the one before is recorded", "internal/worker/deliver.go",
		"		defer w.suspects.told(r)\n", "		w.suspects.told(r)\n",
		"./internal/worker", "TestDecision05_ASuspectBeginsWhenTheEndOfTheOneBeforeIsTold",
	},
	{
		"silence begins anew at each gap", "internal/fleet/silence.go",
		"			s.before += max", "			_ = max",
		"./internal/fleet", "TestDecision01_AStarvedSurvivorFindsTheDead",
	},
	{
		"a late answer to a beat is thrown away", "internal/fleet/beat.go",
		"beatAnswer = 5 * beatEvery", "beatAnswer = beatEvery",
		"./internal/fleet", "TestDecision01_AFleetFarFromRedisIsLed",
	},
	{
		"declared dead though it has beaten", "internal/fleet/lua/declare.lua",
		"if (f[1] or '0') ~= ARGV[2] then return {'alive'} end", "",
		"./internal/fleet", "TestDecision01_WhoHasBeatenSinceIsNotDead",
	},
	{
		"what lies late in an outbox is left", "internal/fleet/outbox.go",
		"told, err := o.cfg.Late(ctx, shard, outboxLate)", "told, err := 0, error(nil)",
		"./internal/fleet", "TestOutboxLooksForWhatIsLate",
	},
	{
		"an end is dropped before the outbox", "internal/record/lua/task.lua",
		"    to_outbox('t', id, t.n or '0', now, state, value, err, t.l)\n", "",
		"./internal/group", "TestMembersFromElsewhere",
	},
	{
		"an end is told before it is written", "internal/record/lua/task.lua",
		"  local key = k_record(id)\n  let_go(id, t)\n",
		"  local key = k_record(id)\n  notify(t.w, function() return true end, function() return pack('t', id) end)\n  t.w = nil\n  let_go(id, t)\n",
		"./internal/record", "TestDecision07_AnEndIsToldBehindItsRecord",
	},
	{
		"the barrier counts events", "internal/record/lua/members.lua",
		"    n = n + r[2]\n", "    n = n + 1\n",
		"./internal/group", "TestRangesToTheBarrier",
	},
	{
		"open work expires", "internal/record/lua/create.lua",
		"  redis.call('HSET', key, unpack(f))\n", "  redis.call('HSET', key, unpack(f))\n  redis.call('PEXPIRE', key, retention)\n",
		"./internal/doctor", "TestDecision34_DoctorFindsNothingWhereNothingIsWrong",
	},
	{
		"what ended stays for ever", "internal/record/lua/task.lua",
		"  redis.call('PEXPIRE', key, t.rt)\n", "",
		"./internal/record", "TestDecision08_TombstoneAndSize",
	},
	{
		"a dequeue is retried", "internal/carrier/once.go",
		"func (*once) NoRetry() bool { return true }", "func (*once) NoRetry() bool { return false }",
		"./internal/carrier", "TestDecision03_DequeueIsNotRepeated",
	},
	{
		"a stray stays where it is", "internal/carrier/lua/stray.lua",
		"  redis.call('RPUSH', KEYS[3], ARGV[1])\n", "",
		"./internal/carrier", "TestDecision03_StrayDeliveriesComeBack",
	},
	{
		"a lost notice is never looked for", "internal/inbox/run.go",
		"			b.checkAll()\n", "",
		"./internal/inbox", "TestLostNoticeIsFoundByTheSafetyCheck",
	},
	{
		"a reconnect looks for nothing", "internal/inbox/run.go",
		"		for _, e := range b.entries {\n			b.enqueue(e)\n		}\n	}\n	b.confirmed", "	}\n	b.confirmed",
		"./internal/inbox", "TestReconnectLooksAtOnce",
	},
	{
		"a fenced handler's end counts", "internal/worker/run.go",
		"	r.stop(func() error { r.fenced = true; return r.w.cfg.Causes.Fenced }, false)\n	r.abandon(r.options.Grace(), func() verdict { return verdict{act: actDrop} })\n",
		"	r.stop(func() error { return r.w.cfg.Causes.Fenced }, false)\n",
		"./internal/worker", "TestDecision02_FencedRunsDoNotCount",
	},
	{
		"a stuck handler's slot is not counted", "internal/worker/run.go",
		"	r.w.count.stuck.Add(1)\n", "",
		"./cmd/worker", "TestDecision30_StuckHandlersAreBoundedAndCounted",
	},
	{
		"suspects run side by side", "internal/worker/suspects.go",
		"turn: make(chan struct{}, 1)", "turn: make(chan struct{}, 9)",
		"./internal/worker", "TestDecision05_OneSuspectRunsAtATime",
	},
	{
		"who beats again is not told of its death", "internal/fleet/beat.go",
		"	if b.owed == 0 {\n", "	if b.owed < 1<<60 {\n",
		"./internal/fleet", "TestDecision01_WhoBeatsAgainIsToldThatItWasDeclaredDead",
	},
}
