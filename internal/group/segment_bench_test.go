package group

import (
	"testing"

	"github.com/gatherq/gatherq/internal/record"
)

// packedCall is a member with 32 bytes of JSON.
func packedCall() Member {
	return Member{
		Profile: &Profile{Type: "bench.add", Queue: "default", Options: record.Options{}.Encode()},
		Args:    record.Wrap([]byte(`{"index":10000000,"add":1000000}`)), Digest: make([]byte, 16),
	}
}

func BenchmarkSegmentPack(b *testing.B) {
	m := packedCall()
	b.ReportAllocs()
	for b.Loop() {
		p := NewPacker("default", 0)
		for range segmentMembers {
			p.Add(&m)
		}
		if packed := p.Flush(); len(packed.segments) != 1 {
			b.Fatalf("%d segments", len(packed.segments))
		}
	}
}

func BenchmarkSegmentUnpack(b *testing.B) {
	m, p := packedCall(), NewPacker("default", 0)
	for range segmentMembers {
		p.Add(&m)
	}
	data := p.Flush().segments[0]
	b.ReportAllocs()
	for b.Loop() {
		if s, err := unpackSegment(data); err != nil || len(s.members) != segmentMembers {
			b.Fatalf("%+v, %v", s, err)
		}
	}
}
