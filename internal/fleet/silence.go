package fleet

import "time"

// How a survivor tells death from a stall. All of it is measured on its own clock, over its own reads.
const (
	// readsApart is the longest way between two reads; more is a gap: Redis was away, or this process had no turn. After a gap
	// every count starts anew, so that what silences everybody is nobody's death. Another master is a gap as well, however short: others
	// may find it later than this survivor.
	readsApart = 1500 * time.Millisecond

	// deadAfter is the silence of a worker that has beaten since the last gap and that nobody listens for: its connections are
	// closed.
	deadAfter = 2500 * time.Millisecond

	// deadUnseen is the same where no beat was seen since the last gap, say of one that died with it, or before this survivor
	// began: after an outage of Redis it may take a living one some seconds to come back.
	deadUnseen = 6 * time.Second

	// deadConnected is the silence of a worker whose subscription stands, or of which that is not known: it is stopped, cut off, or
	// its host has vanished. A worker without a turn on a busy machine was seen to be silent for 6 s.
	deadConnected = 15 * time.Second

	// clocksApart is how far Redis' clock and ours may differ in what they say of the time between two reads. More is a jump (a
	// failover, a clock that was set), and counts as a gap.
	clocksApart = 100 * time.Millisecond
)

// quiet is a worker that may be dead.
type quiet struct {
	Late
	silent    time.Duration
	connected bool // it is dead also if its subscription stands
}

// judge measures the silence of the others. It is one survivor's, and sees its reads in their order.
//
// Redis' clock is used in one way: where it has gone along with ours since the last gap, the time that it gave to a beat since then
// says how long ago that was. So a survivor need not read the beats of all who live.
type judge struct {
	began  Reading // the first since the last gap
	last   Reading
	silent map[string]silence // of those that were late at the last read
}

// silence is what this survivor has seen of one that is late.
type silence struct {
	beat  int64
	since time.Time // answer of the first read of this beat
}

// read takes in what a beat's answer says, and returns who may be dead by it.
func (j *judge) read(r Reading) (out []quiet) {
	if r.Anew || j.last.Answered.IsZero() || r.Master != j.last.Master || max(r.Answered.Sub(j.last.Answered), r.Now.Sub(j.last.Now)) > readsApart || jumped(j.last, r) {
		j.began, j.silent = r, nil
	}
	j.last = r
	now := make(map[string]silence, len(r.Late))
	for _, l := range r.Late {
		s, ok := j.silent[l.ID]
		if !ok || s.beat != l.Beat {
			s = silence{beat: l.Beat, since: r.Answered}
		}
		now[l.ID] = s
		q := quiet{Late: l, silent: r.Sent.Sub(s.since)}
		limit := deadUnseen
		if l.At.After(j.began.Now) && !l.At.After(r.Now) {
			q.silent = max(q.silent, min(r.Now.Sub(l.At), r.Answered.Sub(j.began.Answered)))
			limit = deadAfter
		}
		q.connected = q.silent >= deadConnected
		if q.silent >= limit {
			out = append(out, q)
		}
	}
	j.silent = now
	return out
}

// jumped reports whether Redis' clock and ours disagree about the time between two reads.
func jumped(a, b Reading) bool {
	there := b.Now.Sub(a.Now)
	return there < b.Sent.Sub(a.Answered)-clocksApart || there > b.Answered.Sub(a.Sent)+clocksApart
}
