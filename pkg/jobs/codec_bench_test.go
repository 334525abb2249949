package jobs

import (
	"encoding/json"
	"testing"

	"github.com/redis/go-redis/v9"
)

type benchArgs struct {
	Index int `json:"index"`
	Add   int `json:"add"`
}

var benchDefinition = Define[benchArgs, benchArgs]("bench.add")

func BenchmarkEncodeArgs(b *testing.B) {
	for name, args := range map[string]any{
		"struct": benchArgs{Index: 10_000_000, Add: 1_000_000}, "raw JSON": json.RawMessage(`{"index":10000000,"add":1000000}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, r := encodeArgs(args, defaultMaxBytes); r != nil {
					b.Fatal(r)
				}
			}
		})
	}
}

// All that a call costs before Redis hears of it.
func BenchmarkPlanCall(b *testing.B) {
	rdb := redis.NewClient(&redis.Options{})
	b.Cleanup(func() { _ = rdb.Close() })
	c, err := NewClient(rdb, ClientConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	b.ReportAllocs()
	for b.Loop() {
		call := benchDefinition.Call(benchArgs{Index: 10_000_000, Add: 1_000_000})
		if _, r := c.plan(&call.callSpec); r != nil {
			b.Fatal(r)
		}
	}
}

func BenchmarkDecodeResult(b *testing.B) {
	data := []byte(`{"index":10000000,"add":1000000}`)
	b.ReportAllocs()
	for b.Loop() {
		var v benchArgs
		if err := decodeJSON(data, &v); err != nil {
			b.Fatal(err)
		}
	}
}
