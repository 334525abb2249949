package record

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"
	"time"
)

// rangeMembers is a full range of members with 32 bytes of JSON each, as fast workers settle them.
func rangeMembers() []Outcome {
	begin := time.UnixMilli(1_700_000_000_000).UTC()
	outs := make([]Outcome, 64)
	for i := range outs {
		outs[i] = Outcome{
			Index: 640 + i, State: Succeeded, Value: Wrap([]byte(`{"sum":11000000,"from":10000000}`)), Attempt: 1, Delivery: 1,
			QueuedAt: begin, StartedAt: begin.Add(time.Duration(i) * time.Millisecond), FinishedAt: begin.Add(time.Duration(i+1) * time.Millisecond),
		}
	}
	return outs
}

func BenchmarkDeliveryEncode(b *testing.B) {
	for _, refs := range []int{1, MaxRefs} {
		b.Run(fmt.Sprint(refs, " refs"), func(b *testing.B) {
			d := delivery(refs)
			b.ReportAllocs()
			for b.Loop() {
				d.Encode()
			}
		})
	}
	b.Run("ticket", func(b *testing.B) {
		d := Delivery{Ticket: &Ticket{Group: "g:0193a7c2-5a7e-7c3e-9f5e-0242ac120002", Nonce: "6f1c1c9e-7a3f-4f0e-8a55-0242ac120002", Place: 3, Number: 35}}
		b.ReportAllocs()
		for b.Loop() {
			d.Encode()
		}
	})
}

func BenchmarkDeliveryDecode(b *testing.B) {
	for _, refs := range []int{1, MaxRefs} {
		b.Run(fmt.Sprint(refs, " refs"), func(b *testing.B) {
			message := delivery(refs).Encode()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeDelivery(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func delivery(refs int) Delivery {
	var d Delivery
	for i := range refs {
		d.Refs = append(d.Refs, Ref{ID: "t:0193a7c2-5a7e-7c3e-9f5e-0242ac12" + strconv.Itoa(1000+i), Number: 1})
	}
	return d
}

func BenchmarkRangeEncode(b *testing.B) {
	outs := rangeMembers()
	b.ReportAllocs()
	for b.Loop() {
		EncodeRange("worker-0193a7c2", outs)
	}
}

func BenchmarkRangeDecode(b *testing.B) {
	data := append([]byte("640\n"), EncodeRange("worker-0193a7c2", rangeMembers())...)
	b.ReportAllocs()
	for b.Loop() {
		r, err := ReadRange("g:0193a7c2-5a7e-7c3e-9f5e-0242ac120002", data)
		if err != nil {
			b.Fatal(err)
		}
		var o Outcome
		for r.More() {
			if err := r.Next(&o); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkNoticeParse(b *testing.B) {
	var payload []byte
	for _, f := range []string{
		"t", "t:0193a7c2-5a7e-7c3e-9f5e-0242ac120002", "succeeded", "\x00{\"sum\":11000000,\"from\":10000000}", "", "1", "1", "worker-0193a7c2",
		"bench.add", "1700000000000", "1700000000001", "1700000000002",
	} {
		payload = fmt.Appendf(payload, "%d:%s", len(f), f)
	}
	var n Notice
	err := ParseNotices(payload, func(one Notice) { n = one })
	if err != nil || n.Outcome == nil || !bytes.HasSuffix(n.Outcome.Value, []byte("}")) {
		b.Fatalf("%+v, %v", n, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := ParseNotices(payload, func(Notice) {}); err != nil {
			b.Fatal(err)
		}
	}
}
