package fleet

import (
	_ "embed"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

//go:embed lua/errands.lua
var errandsSrc string

// Errands is what the answer to a beat says that the fleet needs somebody for. The zero Errands, of before the first beat, is nothing.
type Errands struct {
	Leads  bool           // this worker does what has to be done once
	Now    time.Time      // by Redis' clock
	Strays []string       // queues with deliveries that were handed out and seem not to have arrived
	Shards []ShardErrands // none in a cluster, where no script sees them: there whoever leads looks for itself
}

// ShardErrands is the part of one shard.
type ShardErrands struct {
	Next   time.Time // when the earliest open work is to be looked at, by Redis' clock; zero: there is none
	Outbox bool      // ends wait to be told
}

// A lead counts for a few beats, of which some may be late.
const (
	leadBeats = 3
	leadFor   = leadBeats * beatEvery
)

// errandsCall is what the beat's script needs for the errands: its keys and arguments.
func errandsCall(k keys.Space, cluster bool, look carrier.Look, every time.Duration) (names []string, args []any) {
	names = append(names, look.Keys...)
	if !cluster {
		for shard := range k.Shards() {
			names = append(names, k.Open(shard), k.Outbox(shard))
		}
	}
	parked := 0
	if look.Parked {
		parked = 1
	}
	args = append([]any{len(look.Queues), look.Step, parked}, look.Args...)
	return names, append(args, carrier.StrayBefore(strayAge), leadBeats*every.Milliseconds())
}

// readErrands reads what the script answers, with the time of its answer.
func readErrands(r *record.Reply, now time.Time, queues []string) (Errands, error) {
	e := Errands{Now: now, Leads: r.Int() == 1}
	for strays := r.List(); strays.More(); {
		if place := int(strays.Int()); place >= 1 && place <= len(queues) {
			e.Strays = append(e.Strays, queues[place-1])
		}
	}
	for r.More() {
		s := r.List()
		e.Shards = append(e.Shards, ShardErrands{Next: score(s.Str()), Outbox: s.Int() == 1})
		if s.Err != nil {
			return e, s.Err
		}
	}
	return e, r.Err
}

// far is the score of what waits for nobody here; compare FAR in the scripts.
const far = 9e15

// score reads a time of the open work. Redis writes scores as numbers of any form.
func score(s string) time.Time {
	ms, err := strconv.ParseFloat(s, 64)
	if err != nil || ms >= far {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
