package record_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

func FuzzDecodeRange(f *testing.F) {
	f.Add([]byte("0\n" + string(record.EncodeRange("w", []record.Outcome{{Index: 3, State: record.Succeeded, Value: []byte("\x001\n;"), Attempt: 1}}))))
	f.Add([]byte("5\n\x02\x01w\x0c\x07\x89\x00\x01\x01\x00\x09{\"k\":\"x\"}"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = record.DecodeRange("g", b) })
}

func TestRangeRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base := time.UnixMilli(rapid.Int64Range(1<<20, 1<<41).Draw(rt, "base")).UTC()
		var outs []record.Outcome
		for i := range rapid.IntRange(1, 5).Draw(rt, "n") {
			o := record.Outcome{Index: i * rapid.IntRange(1, 2).Draw(rt, "stride"), State: record.Succeeded, Attempt: i/2 + 1, Delivery: int64(i / 2), QueuedAt: base.Add(-time.Minute), FinishedAt: base.Add(-time.Duration(i) * time.Millisecond)}
			if rapid.Bool().Draw(rt, "started") {
				o.Started, o.StartedAt = true, o.FinishedAt.Add(-time.Second)
			}
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				o.Value = record.Wrap(rapid.SliceOf(rapid.Byte()).Draw(rt, "value"))
			case 1:
				o.State, o.Failure = record.Failed, &record.Failure{Kind: "error", Message: rapid.String().Draw(rt, "m"), Codes: []string{"a"}}
			case 2:
				o.Link = "g2"
			case 3: // of a group that failed the failure is all there is
				o.Link, o.State, o.Failure = "g2", record.Failed, &record.Failure{Kind: "error"}
			default:
				o.Link, o.LinkSettled = "g3", true
			}
			outs = append(outs, o)
		}
		got, err := record.DecodeRange("g", append([]byte("10\n"), record.EncodeRange("w", outs)...))
		if err != nil || len(got) != len(outs) {
			rt.Fatal(got, err)
		}
		for i, o := range got {
			w := outs[i]
			if w.Failure != nil {
				w.Link = ""
			}
			w.Group, w.ID, w.Order, w.Worker = "g", fmt.Sprintf("g:%d", w.Index), 11+i, "w"
			if fmt.Sprintf("%+v %+v", o, o.Failure) != fmt.Sprintf("%+v %+v", w, w.Failure) && strings.ToValidUTF8(fmt.Sprint(w.Failure), "") == fmt.Sprint(w.Failure) {
				a, b := o, w
				a.Failure, b.Failure = nil, nil
				if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
					rt.Fatalf("got  %+v\nwant %+v", a, b)
				}
			}
		}
	})
}

// Scripts write single entries, too: what base.lua writes is what RangeReader reads.
func TestScriptsWriteRangesAsWorkersDo(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, _ *redis.Client) {
		script := conn.NewScript("test.entry", record.Fragment("base"), `
local now = num(ARGV[1])
return '41\n' .. range_head(ARGV[2], now, ARGV[3]) ..
  entry(num(ARGV[4]), ARGV[5], ARGV[6], num(ARGV[7]), num(ARGV[8]), num(ARGV[9]), ARGV[10], ARGV[11]) ..
  entry(num(ARGV[4]) + 1, 'cancelled', 'e', 1, -1, 1, '', '{"k":"cancelled"}')`)
		rapid.Check(t, func(rt *rapid.T) {
			now := time.UnixMilli(rapid.Int64Range(1<<26, 1<<41).Draw(rt, "now")).UTC()
			queued := now.Add(-time.Minute)
			want := record.Outcome{
				Group: "g", Index: rapid.IntRange(0, 1<<24).Draw(rt, "index"), Order: 42, Worker: rapid.StringN(0, 200, -1).Draw(rt, "worker"),
				Attempt: rapid.IntRange(1, 1001).Draw(rt, "attempt"), Delivery: rapid.Int64Range(0, 1<<40).Draw(rt, "number"), QueuedAt: queued, FinishedAt: now,
			}
			started := rapid.Int64Range(-1<<33, 1).Draw(rt, "started")
			if at := now.Add(time.Duration(started) * time.Millisecond); started <= 0 && at.UnixMilli() > 0 {
				want.Started, want.StartedAt = true, at
			} else {
				started = 1
			}
			kind, value, failure := rapid.SampledFrom([]string{"v", "e", "o", "b"}).Draw(rt, "kind"), "", ""
			body := rapid.StringN(1, 300, -1).Draw(rt, "body")
			switch kind {
			case "v":
				value, want.Value, want.State = body, []byte(body), record.Succeeded
			case "e":
				failure, want.State = `{"k":"error"}`, rapid.SampledFrom([]record.State{record.Failed, record.TimedOut, record.CrashLoop, record.Lost, record.Expired}).Draw(rt, "state")
				want.Failure = &record.Failure{Kind: "error"}
			default:
				value, want.Link, want.LinkSettled, want.State = body, body, kind == "b", record.Succeeded
			}
			call := conn.NewCall(script, "gq:{ns:0}:", now.UnixMilli(), want.Worker, queued.UnixMilli(), want.Index, string(want.State), kind,
				want.Attempt, want.Delivery, started, value, failure)
			if err := s.Conn().All(t.Context(), call); err != nil {
				rt.Fatal(err)
			}
			blob, _ := call.Reply.(string)
			got, err := record.DecodeRange("g", []byte(blob))
			if err != nil || len(got) != 2 {
				rt.Fatal(got, err)
			}
			want.ID = fmt.Sprintf("g:%d", want.Index)
			if a, b := fmt.Sprintf("%+v %+v", got[0], got[0].Failure), fmt.Sprintf("%+v %+v", want, want.Failure); a != b && want.Failure == nil {
				rt.Fatalf("got  %s\nwant %s", a, b)
			}
			if got[0].State != want.State || (got[0].Failure == nil) != (want.Failure == nil) || got[1].Index != want.Index+1 || got[1].Order != 43 ||
				got[1].State != record.Cancelled || got[1].Attempt != 1 || got[1].Started {
				rt.Fatalf("got %+v and %+v", got[0], got[1])
			}
		})
	})
}
