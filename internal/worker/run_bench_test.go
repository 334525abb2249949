package worker

import (
	"context"
	"fmt"
	"testing"
)

func handleNothing(context.Context, *Job) Result { return Result{Value: []byte("1")} }

// Members of a gather that do nothing, each from its range to its settle, without Redis. One operation is one member.
func BenchmarkMember(b *testing.B) {
	for _, slots := range []int{1, 16} {
		b.Run(fmt.Sprint(slots, " slots"), func(b *testing.B) {
			f := &fakeFleet{}
			f.gather(b.N, "t")
			w := newWorker(b, f, slots, map[string]Handler{"t": handleNothing})
			b.ReportAllocs()
			b.ResetTimer()
			deliver(b, w, ticket)
			w.wg.Wait()
			b.StopTimer()
			if got := len(f.list("settle")); got != b.N {
				b.Fatalf("%d of %d members ended", got, b.N)
			}
		})
	}
}

// Single tasks that do nothing, one to a delivery, each from its claim to its settle, without Redis. One operation is one task.
func BenchmarkSingle(b *testing.B) {
	f := &fakeFleet{}
	messages := make([][]byte, b.N)
	for i := range messages {
		messages[i] = f.task(fmt.Sprint("t:", i), nil).Encode()
	}
	w := newWorker(b, f, 16, map[string]Handler{"t": handleNothing})
	b.ReportAllocs()
	b.ResetTimer()
	for _, m := range messages {
		if err := tryDeliver(b, w, m); err != nil {
			b.Fatal(err)
		}
	}
	w.wg.Wait()
	b.StopTimer()
	if got := len(f.list("settle")); got != b.N {
		b.Fatalf("%d of %d tasks ended", got, b.N)
	}
}
