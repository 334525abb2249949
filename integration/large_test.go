package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
)

// largeJSON is a JSON array of that many bytes or a few more, with what a codec that is not byte-exact would change.
func largeJSON(n int) string {
	var b strings.Builder
	b.WriteString(`[ 1.0,9007199254740993,"\u003c<&>\u2028é"`)
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `,{"id": %d,"k":%d,"k":%d,"name":"customer %x","o":{},"a":[]}`, i, i%7, i%5, i*104729)
	}
	b.WriteByte(']')
	return b.String()
}

// A large value comes back byte for byte, and Redis holds it compressed: as arguments, as a result, in ranges.
func TestLargeValuesAreStoredCompressed(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		rdb := s.Client(t)
		const size = 200 << 10
		value := largeJSON(size)
		stored := func(key, what string, values int) {
			t.Helper()
			if got := used(t, s, rdb, key); got > int64(values*size/3) || got < 1000 {
				t.Errorf("%s: %d bytes in Redis for %d values of %d", what, got, values, len(value))
			} else {
				t.Logf("%s: %d bytes in Redis for %d values of %d", what, got, values, len(value))
			}
		}

		id := produceFrom(t, s, 0, value, "create", "echo", "-")
		stored("gq:{gatherq:0}:r:"+id, "arguments", 1)
		group := produceFrom(t, s, 0, strings.Repeat(value+"\n", 5), "gather", "echo", "-")
		worker(t, s)
		if got := produce(t, s, 0, "await", id); got != value {
			t.Errorf("%d bytes came back as %d", len(value), len(got))
		}
		stored("gq:{gatherq:0}:r:"+id, "a result", 1)
		if got := produce(t, s, 0, "await", group); got != strings.TrimSuffix(strings.Repeat(value+"\n", 5), "\n") {
			t.Errorf("5 × %d bytes came back as %d", len(value), len(got))
		}
		stored("gq:{gatherq:0}:v:"+group+":0", "settled ranges", 5)
		line := parseLine(t, produce(t, s, 0, "await", "--json", id))
		if strings.ReplaceAll(value, " ", "") != strings.ReplaceAll(string(line.Value), " ", "") {
			t.Errorf("the result line holds %d bytes of %d", len(line.Value), len(value))
		}
		produceFrom(t, s, 2, `"`+strings.Repeat("0", 256<<10)+`"`, "create", "echo", "-") // the limit is on what was given
	})
}

// used returns how many bytes a key holds. The embedded Redis does not say: there it is what its fields hold.
func used(t *testing.T, s *redistest.Server, rdb *redis.Client, key string) (n int64) {
	t.Helper()
	var err error
	if s.IsReal() {
		n, err = rdb.MemoryUsage(t.Context(), key, 0).Result()
	} else {
		var fields map[string]string
		fields, err = rdb.HGetAll(t.Context(), key).Result()
		for name, value := range fields {
			n += int64(len(name) + len(value))
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}
