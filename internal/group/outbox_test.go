package group

import (
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// What one entry of an outbox is bad for keeps no other from being told, and it stays where doctor finds it.
func TestDecision07_ABadEntryOfAnOutboxHoldsUpNone(t *testing.T) {
	for name, spoil := range map[string]func(f *fixture){
		"no entry": func(f *fixture) { f.outbox("t|0|1", "x") },
		"no time":  func(f *fixture) { f.outbox("t|0|1", "9:x") },
		"fields":   func(f *fixture) { f.outbox("t|0|1", "13:1700000000000") },
		"links":    func(f *fixture) { f.outbox("t|0|1", "13:17000000000001:t1:09:succeeded0:0:3:xyz") },
		"the member": func(f *fixture) { // of another group, whose results do not parse
			f.gather("m", 1)
			rdb := f.conn.Redis()
			f.ok(rdb.SetRange(f.ctx, f.keys.Map("m", 0), 0, "\x00\x00\x00\x01").Err())
			f.ok(rdb.HSet(f.ctx, f.keys.Results("m", 0), "1", "x").Err())
			f.outbox("m|m:0|1", "13:17000000000001:m3:m:00:0:0:8:6:1:g1:0")
		},
		"the group": func(f *fixture) { // who waits is no group: the script fails
			f.ok(f.conn.Redis().Set(f.ctx, f.keys.Record("other"), "x", 0).Err())
			f.outbox("t|0|1", "13:17000000000001:t1:09:succeeded0:0:13:10:5:other1:0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(f *fixture) {
				for _, id := range []string{"a", "b"} {
					f.create(id)
				}
				f.gatherLinks("g", "a", "b")
				spoil(f)
				for _, id := range []string{"a", "b"} {
					f.end(id, record.Succeeded, "1")
				}
				if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier {
					f.Errorf("%+v %v", h, err)
				}
				if told, err := f.groups.DeliverLate(f.ctx, 0, 2*time.Second); told != 0 || err == nil {
					f.Errorf("nobody is told of the bad one: %d, %v", told, err)
				}
				if n := f.conn.Redis().HLen(f.ctx, f.keys.Outbox(0)).Val(); n != 1 {
					f.Errorf("%d entries", n)
				}
			})
		})
	}
}

func (f *fixture) outbox(field, entry string) {
	f.Helper()
	f.ok(f.conn.Redis().HSet(f.ctx, f.keys.Outbox(0), field, entry).Err())
}
