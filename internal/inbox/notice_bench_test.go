package inbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// A notice that brings the end of one of 10,000 tasks that are awaited.
func BenchmarkNotice(b *testing.B) {
	const open = 10_000
	box := newWorld().inbox(time.Minute)
	b.Cleanup(func() { _ = box.Close() })
	payloads, entries := make([][]byte, open), make([]*entry, open)
	told := 0
	for i := range open {
		id := fmt.Sprintf("t:0193a7c2-5a7e-7c3e-9f5e-%012d", i)
		payloads[i] = pack("t", id, "succeeded", "\x00{\"sum\":11000000,\"from\":10000000}", "", "1", "1", "worker", "bench.add",
			"1700000000000", "1700000000001", "1700000000002")
		entries[i] = &entry{key: key{id, record.Whole}}
		box.entries[entries[i].key] = entries[i]
	}
	ends := make(chan Told, 1)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e := entries[n%open]
		e.push(&waiter{told: ends})
		box.entries[e.key] = e // the notice takes it out
		box.message(payloads[n%open])
		<-ends
		told++
		n++
	}
	if told != n {
		b.Fatalf("%d of %d notices were told", told, n)
	}
}
