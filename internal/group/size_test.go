package group

import (
	"strings"
	"testing"

	"github.com/gatherq/gatherq/internal/record"
)

// groupKeys returns the keys of a namespace that belong to groups, with their types.
func (f *fixture) groupKeys() map[string]string {
	f.Helper()
	rdb, out := f.conn.Redis(), map[string]string{}
	iter := rdb.Scan(f.ctx, 0, "gq:{"+f.keys.Namespace()+":0}:*", 1000).Iterator()
	for iter.Next(f.ctx) {
		out[iter.Val()] = rdb.Type(f.ctx, iter.Val()).Val()
	}
	f.ok(iter.Err())
	return out
}

func TestDecision09_NoKeyGrowsLarge(t *testing.T) {
	each(t, func(f *fixture) {
		const n = 66_000 // more than a thousand segments, and more than one chunk of the map
		f.gather("g", n)
		check := func() {
			f.Helper()
			rdb := f.conn.Redis()
			for key, kind := range f.groupKeys() {
				switch kind {
				case "hash":
					if l := rdb.HLen(f.ctx, key).Val(); l > bucketSize {
						f.Errorf("%s has %d fields", key, l)
					}
				case "string":
					if l := rdb.StrLen(f.ctx, key).Val(); l > 256<<10 {
						f.Errorf("%s has %d bytes", key, l)
					}
				}
			}
		}
		check()
		_, err := f.groups.Cancel(f.ctx, "g", false, &record.Failure{Kind: "cancelled"})
		f.ok(err)
		check()
		h, err := f.groups.Head(f.ctx, "g")
		f.ok(err)
		if !h.Barrier || h.Done != n {
			f.Fatalf("%+v", h)
		}
	})
}

func TestDecision37_NothingIsStoredPerMember(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 640)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		fields := int64(0)
		for p := f.pull("w", tk, 64); p.Status == GotRange; p = f.pull("w", tk, 64) {
			f.settle("w", p.Range, f.outcomes(p.Range, record.Succeeded))
		}
		for key, kind := range f.groupKeys() {
			if strings.Contains(key, ":v:") && kind == "hash" {
				fields += f.conn.Redis().HLen(f.ctx, key).Val()
			}
		}
		if keys := len(f.groupKeys()); fields != 10 || keys > 6 {
			f.Fatalf("640 members lie in %d settled ranges and %d keys", fields, keys)
		}
	})
}
